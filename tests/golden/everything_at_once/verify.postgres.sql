SELECT (sum(age) = 3 AND min(mail_key) = 'a@x')::text FROM users
