SELECT (sum(id) = 2)::text FROM w
