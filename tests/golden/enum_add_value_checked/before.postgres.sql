CREATE TYPE st AS ENUM ('a', 'b'); CREATE TABLE t (id bigint PRIMARY KEY, s st NOT NULL, n int);
