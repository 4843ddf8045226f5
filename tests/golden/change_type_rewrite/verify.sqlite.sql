SELECT CAST(sum(qty) = 55 AS TEXT) FROM users
