SELECT display_name = 'Ada' FROM users
