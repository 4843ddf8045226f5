SELECT (q = 5 AND g = 'g' AND m = 'good')::text FROM t
