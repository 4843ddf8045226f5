SELECT (count(*) = 1)::text FROM users WHERE summary = 'short' AND description = 'long'
