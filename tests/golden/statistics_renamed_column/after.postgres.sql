CREATE TABLE t (id int PRIMARY KEY, c int, b int);
CREATE STATISTICS s ON c, b, (id + b) FROM t;
