SELECT CAST(min(email_key = lower(email)) AS TEXT) FROM users
