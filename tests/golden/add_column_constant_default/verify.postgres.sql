SELECT (sum(points) = 21)::text FROM users
