SELECT count(*) = 1 FROM purchases JOIN people ON number = user_id AND name = 'b'
