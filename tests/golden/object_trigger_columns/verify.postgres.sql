SELECT (count(*) = 1 AND sum(b) = 2)::text FROM t
