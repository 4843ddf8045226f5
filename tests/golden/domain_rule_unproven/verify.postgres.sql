SELECT (q = -1)::text FROM t
