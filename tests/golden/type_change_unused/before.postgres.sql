CREATE TYPE street AS (name text, number integer);
CREATE TYPE zone AS (a integer, b integer);
CREATE TABLE t (id int PRIMARY KEY, at timestamp with time zone);
