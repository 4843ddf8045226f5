CREATE TABLE j (id int PRIMARY KEY, a int, CONSTRAINT j_a CHECK (a < 9)); CREATE INDEX j_a_idx ON j (a);
