INSERT INTO p (id) VALUES (1), (2), (3);
INSERT INTO t (id, a, b, c) VALUES (1, 1, 2, 'x'), (2, 2, NULL, 'y');
