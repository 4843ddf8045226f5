CREATE TYPE state AS ENUM ('good', 'bad');
CREATE TABLE t (id int PRIMARY KEY, ok state NOT NULL, was state, mood state NOT NULL);
