SELECT CAST(count(*) = 3 AS TEXT) FROM users WHERE (id, state, tags) IN (VALUES (1, 'on', 'a!'), (2, 'off', '!'), (3, 'off', 'b!'))
