SELECT (count(*) = 2)::text FROM users WHERE display_name IN ('a', 'b') AND mail LIKE '%@x'
