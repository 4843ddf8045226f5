SELECT CAST(count(*) = 1 AS TEXT) FROM users WHERE summary = 'short' AND description = 'long'
