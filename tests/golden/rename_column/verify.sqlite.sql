SELECT CAST(count(*) = 2 AS TEXT) FROM users WHERE display_name IN ('a', 'b')
