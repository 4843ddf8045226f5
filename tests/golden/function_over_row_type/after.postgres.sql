CREATE TABLE js2 (id int PRIMARY KEY, a text); ALTER INDEX js2_pkey RENAME TO js_pkey;
CREATE FUNCTION title(x js2) RETURNS text LANGUAGE sql AS 'SELECT upper(x.a)';
CREATE VIEW titles AS SELECT id, title(js2) AS t FROM js2;
CREATE TABLE ks2 (id int PRIMARY KEY); ALTER INDEX ks2_pkey RENAME TO ks_pkey;
CREATE TABLE more (id int PRIMARY KEY);
CREATE FUNCTION many(x more[]) RETURNS more[] LANGUAGE sql AS 'SELECT x';
