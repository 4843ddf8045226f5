SELECT (amount = 5)::text FROM users
