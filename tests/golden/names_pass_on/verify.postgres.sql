SELECT (count(*) = 2)::text FROM k WHERE c IN (1, 7)
