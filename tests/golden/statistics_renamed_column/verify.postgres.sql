SELECT (sum(c) = 2)::text FROM t
