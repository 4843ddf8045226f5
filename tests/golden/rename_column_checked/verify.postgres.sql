SELECT (count(*) = 1)::text FROM t WHERE b = 'x'
