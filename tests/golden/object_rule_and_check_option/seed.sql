INSERT INTO u (id, n) VALUES (1, 3), (2, 6);
