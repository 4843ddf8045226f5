CREATE TYPE street AS (name text, number integer, side text);
CREATE TYPE address AS (at street, zip text);
CREATE TABLE t (id int PRIMARY KEY, lives address);
