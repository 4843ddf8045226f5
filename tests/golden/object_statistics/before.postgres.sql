CREATE TABLE t (id int PRIMARY KEY, a int, b int, c int);
CREATE STATISTICS s1 (ndistinct) ON a, b FROM t;
CREATE STATISTICS s2 ON b, c FROM t;
