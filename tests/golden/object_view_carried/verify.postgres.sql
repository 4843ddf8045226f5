SELECT (sum(b) = 2)::text FROM w
