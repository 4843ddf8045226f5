INSERT INTO t VALUES (1, 'a', 'old', 'old'), (2, 'b', NULL, NULL);
