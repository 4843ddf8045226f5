INSERT INTO t (a) VALUES ('x'), ('y'); INSERT INTO u (a) VALUES ('x'), ('y');
