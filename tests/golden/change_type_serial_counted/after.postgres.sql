CREATE TABLE t (id serial PRIMARY KEY, v text);
CREATE TABLE line (id bigint PRIMARY KEY, t_id integer NOT NULL REFERENCES t);
ALTER TABLE t ALTER COLUMN id TYPE bigint;
ALTER TABLE line ALTER COLUMN t_id TYPE bigint;
