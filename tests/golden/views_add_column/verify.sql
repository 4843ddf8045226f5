SELECT email_key = 'a@b' FROM users
