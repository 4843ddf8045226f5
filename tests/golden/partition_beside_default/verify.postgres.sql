SELECT (count(*) = 3 AND sum(a) = 527)::text FROM t
