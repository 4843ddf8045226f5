SELECT (bool_and(email_key = lower(email)))::text FROM users
