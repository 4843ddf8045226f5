CREATE TABLE t (id int PRIMARY KEY, ok boolean NOT NULL, was text);
