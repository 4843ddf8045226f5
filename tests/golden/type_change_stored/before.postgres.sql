CREATE TYPE street AS (name text, number integer);
CREATE TYPE address AS (at street, zip text);
CREATE TABLE t (id int PRIMARY KEY, lives address);
