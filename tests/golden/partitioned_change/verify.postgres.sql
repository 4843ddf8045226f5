SELECT count(*) = 3000 AND bool_and(slug = lower(kind) AND fresh = 'x' || id) AND (SELECT bool_and(indisvalid) FROM pg_index) AND (SELECT bool_and(convalidated) FROM pg_constraint) FROM events
