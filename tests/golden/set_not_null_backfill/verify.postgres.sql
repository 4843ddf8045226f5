SELECT (count(*) = 1)::text FROM users WHERE nick = 'nobody'
