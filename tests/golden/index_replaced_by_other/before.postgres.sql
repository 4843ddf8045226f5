CREATE TABLE t (id int PRIMARY KEY, a int, b int);
CREATE INDEX ix ON t (a);
CREATE INDEX iy ON t (a) WHERE b > 0;
