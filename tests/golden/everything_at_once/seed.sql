INSERT INTO users (id, email, fullname, age) VALUES (1, 'A@x', 'a', NULL), (2, 'B@x', NULL, 3);
