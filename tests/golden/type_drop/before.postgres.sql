CREATE TYPE street AS (name text, number integer);
CREATE TYPE address AS (at street, zip text);
CREATE TYPE heights AS RANGE (SUBTYPE = double precision);
CREATE TABLE t (id int PRIMARY KEY, lives address, h heights);
CREATE FUNCTION label(s street) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT (s).name';
