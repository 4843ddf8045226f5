INSERT INTO users VALUES (1, 'A@x', 'a', 1), (2, 'B@x', 'b', 2);
