CREATE TYPE road AS (name text, number integer);
CREATE TYPE address AS (at road, zip text);
CREATE TYPE levels AS RANGE (SUBTYPE = double precision);
CREATE TABLE t (id int PRIMARY KEY, s road, many road[], h levels);
CREATE FUNCTION label(s road) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT (s).name';
