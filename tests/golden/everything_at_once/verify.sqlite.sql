SELECT CAST(sum(age) = 3 AND min(mail_key) = 'a@x' AS TEXT) FROM users
