CREATE FUNCTION next_no() RETURNS bigint LANGUAGE sql AS $$ SELECT 1::bigint $$;
CREATE TABLE kept (id bigint PRIMARY KEY, no bigint DEFAULT next_no());
CREATE TABLE freed (id bigint PRIMARY KEY, no bigint);
