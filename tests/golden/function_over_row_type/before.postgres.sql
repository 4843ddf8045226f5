CREATE TABLE js (id int PRIMARY KEY, a text);
CREATE FUNCTION title(x js) RETURNS text LANGUAGE sql AS 'SELECT upper(x.a)';
CREATE VIEW titles AS SELECT id, title(js) AS t FROM js;
CREATE TABLE ks (id int PRIMARY KEY);
CREATE FUNCTION gone(x ks) RETURNS int LANGUAGE sql AS 'SELECT 1';
