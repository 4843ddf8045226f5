SELECT CAST(sum(points) = 21 AS TEXT) FROM users
