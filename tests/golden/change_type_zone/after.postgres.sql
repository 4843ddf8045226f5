CREATE TABLE t (id int PRIMARY KEY, a timestamptz NOT NULL, b timestamptz NOT NULL);
