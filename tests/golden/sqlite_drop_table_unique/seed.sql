INSERT INTO x (id, v, w) VALUES (1, 'a', 'b');
