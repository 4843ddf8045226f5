INSERT INTO t (v) VALUES ('a'), ('b');
INSERT INTO line VALUES (1, 1), (2, 2);
