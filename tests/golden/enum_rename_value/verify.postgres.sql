SELECT (m = 'fine')::text FROM t
