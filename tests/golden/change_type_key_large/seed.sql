INSERT INTO users (name) VALUES ('a'), ('b'), ('c'); DELETE FROM users WHERE id = 3;
INSERT INTO orders (user_id) VALUES (1), (2); UPDATE orders SET up = 1 WHERE id = 2;
INSERT INTO profiles VALUES (2, 'x'); INSERT INTO parts VALUES (1, 1), (1, 2);
