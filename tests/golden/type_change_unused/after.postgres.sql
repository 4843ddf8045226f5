CREATE TYPE street AS (name text, number integer, side text);
CREATE TYPE zone AS (a integer, b bigint);
CREATE TABLE t (id int PRIMARY KEY, at timestamp with time zone);
