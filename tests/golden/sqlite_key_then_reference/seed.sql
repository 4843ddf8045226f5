INSERT INTO t (id, a) VALUES (1, 'a'); INSERT INTO u (id, t, a) VALUES (1, 1, 'a'); INSERT INTO v (id, t, a) VALUES (1, 1, 'a');
