INSERT INTO users (id, email, nick) VALUES (1, 'A@x', 'a');
