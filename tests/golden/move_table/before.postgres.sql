CREATE TABLE t (id serial PRIMARY KEY, a text);
CREATE TABLE u (id int PRIMARY KEY, t_id int REFERENCES t);
