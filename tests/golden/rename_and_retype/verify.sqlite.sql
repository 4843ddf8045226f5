SELECT CAST(amount = 5 AS TEXT) FROM users
