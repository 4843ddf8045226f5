CREATE TABLE t (id int PRIMARY KEY, a timestamptz NOT NULL, b timestamptz NOT NULL, c timestamp(3) without time zone);
CREATE INDEX t_c ON t (c);
