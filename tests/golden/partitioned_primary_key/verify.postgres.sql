SELECT count(*) = 4 AND bool_and(indisvalid) FROM pg_index WHERE indrelid::regclass::text LIKE 'a%'
