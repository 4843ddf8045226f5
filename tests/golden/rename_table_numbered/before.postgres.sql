CREATE TABLE s (id serial PRIMARY KEY, t text);
