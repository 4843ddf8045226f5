CREATE FUNCTION next_no() RETURNS integer LANGUAGE sql AS $$ SELECT 1 $$;
CREATE TABLE kept (id bigint PRIMARY KEY, no bigint DEFAULT next_no());
CREATE TABLE freed (id bigint PRIMARY KEY, no bigint DEFAULT next_no());
