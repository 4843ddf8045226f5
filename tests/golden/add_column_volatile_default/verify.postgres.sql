SELECT (count(DISTINCT token) = 3)::text FROM users
