CREATE TABLE t (id int PRIMARY KEY, a text, b bigint);
CREATE VIEW v AS SELECT id, a, b FROM t;
CREATE VIEW w AS SELECT b FROM v;
