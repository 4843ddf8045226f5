CREATE TABLE t (id int PRIMARY KEY, number int NOT NULL, CONSTRAINT t_code UNIQUE (number));
