CREATE TYPE triple AS (major integer, minor integer);
CREATE FUNCTION to_triple(text) RETURNS triple IMMUTABLE LANGUAGE sql AS $$ SELECT row(length($1), 2)::triple $$;
CREATE TABLE versions (id bigint PRIMARY KEY, num text, semver triple GENERATED ALWAYS AS (to_triple(num)) STORED);
