SELECT (q = 5 AND g = 'g' AND m::text = 'good')::text FROM t
