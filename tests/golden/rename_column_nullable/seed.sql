INSERT INTO users (id, email, fullname) VALUES (1, 'A@x', 'a'), (2, 'B@x', NULL);
