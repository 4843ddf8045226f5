INSERT INTO t VALUES (1, true, 'bad'), (2, false, NULL);
