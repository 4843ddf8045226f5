INSERT INTO users (id, email, nick) VALUES (1, 'A@x', NULL), (2, 'B@x', 'b');
