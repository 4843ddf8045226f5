SELECT CAST(sum(score) = 9 AND min(hint) = 'A' AS TEXT) FROM users
