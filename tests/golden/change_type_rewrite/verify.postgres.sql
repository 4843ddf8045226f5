SELECT (sum(qty) = 55)::text FROM users
