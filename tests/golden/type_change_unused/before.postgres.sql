CREATE TYPE street AS (name text, number integer);
CREATE TYPE pair AS (a integer, b integer);
CREATE TABLE t (id int PRIMARY KEY);
