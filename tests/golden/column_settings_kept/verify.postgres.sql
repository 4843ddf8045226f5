SELECT (a = 'x' AND b = '2' AND c = 3)::text FROM t
