CREATE TABLE t (id serial PRIMARY KEY, v text);
CREATE TABLE line (id bigint PRIMARY KEY, t_id integer NOT NULL REFERENCES t);
