SELECT CAST(count(DISTINCT token) = 3 AS TEXT) FROM users
