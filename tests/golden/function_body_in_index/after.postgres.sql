CREATE FUNCTION plain(x text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT lower(trim(x)) $$;
CREATE TABLE t (id int PRIMARY KEY, a text, b text GENERATED ALWAYS AS (plain(a)) STORED, c text DEFAULT plain('X'), CONSTRAINT a_plain CHECK (plain(a) <> 'no'));
CREATE INDEX t_plain ON t (plain(a));
