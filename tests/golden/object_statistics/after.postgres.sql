CREATE TABLE t (id int PRIMARY KEY, a int, b int, c int);
CREATE STATISTICS s1 (ndistinct, dependencies) ON a, b FROM t;
CREATE STATISTICS s3 ON b, c FROM t;
CREATE STATISTICS s4 ON (a + b), c FROM t;
