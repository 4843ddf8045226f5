INSERT INTO t VALUES (1, 5, 'x', 3, 'p', 'g');
