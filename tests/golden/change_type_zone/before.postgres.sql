CREATE TABLE t (id int PRIMARY KEY, a timestamp NOT NULL, b timestamp NOT NULL);
