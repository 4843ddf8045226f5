CREATE TYPE triple AS (major integer, minor integer);
CREATE TABLE versions (id bigint PRIMARY KEY, num text, note text);
