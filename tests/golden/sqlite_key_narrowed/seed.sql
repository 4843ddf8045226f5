INSERT INTO t VALUES (1, 'a', 'x'), (2, 'a', 'y'); INSERT INTO u VALUES (1, 2), (2, 1);
