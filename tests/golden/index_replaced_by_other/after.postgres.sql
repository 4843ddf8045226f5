CREATE TABLE t (id int PRIMARY KEY, a int, b int);
CREATE INDEX ix ON t (b);
CREATE INDEX iy ON t (a, b);
