SELECT (count(*) = 2)::text FROM t WHERE (a = 1 AND b = 2) OR (a = 2 AND b IS NULL)
