CREATE TYPE st AS ENUM ('a', 'new', 'b'); CREATE TABLE t (id bigint PRIMARY KEY, s st NOT NULL, n int, CONSTRAINT t_s CHECK (s <> 'new' OR n IS NOT NULL), CONSTRAINT t_n CHECK (n > 0));
