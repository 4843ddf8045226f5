INSERT INTO t (id, b, c) VALUES (1, 1, 1), (2, 2, 2);
