SELECT (sum(score) = 9 AND min(hint) = 'A')::text FROM users
