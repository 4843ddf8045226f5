SELECT CAST(count(*) = 1 AS TEXT) FROM users WHERE display_name = 'a'
