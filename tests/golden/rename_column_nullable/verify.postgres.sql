SELECT (count(*) = 1)::text FROM users WHERE display_name = 'a'
