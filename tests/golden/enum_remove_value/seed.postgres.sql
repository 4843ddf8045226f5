INSERT INTO users VALUES (1, 'x', 'ok');
