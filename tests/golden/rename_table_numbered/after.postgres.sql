CREATE TABLE s2 (id serial PRIMARY KEY, t text);
