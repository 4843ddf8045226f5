SELECT (count(*) = 3)::text FROM users WHERE (id, state, tags) IN ((1, 'on', 'a!'), (2, 'off', '!'), (3, 'off', 'b!'))
