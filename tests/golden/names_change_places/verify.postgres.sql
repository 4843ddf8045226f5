SELECT (count(*) = 1 AND sum(b) = 3)::text FROM t
