CREATE TYPE st AS ENUM ('a', 'b', 'new');
CREATE TABLE t (id bigint PRIMARY KEY, y st NOT NULL DEFAULT 'new', w text, CONSTRAINT t_z CHECK (y IN ('a', 'b', 'new')));
CREATE INDEX t_a ON t (y) WHERE y <> 'new';
CREATE TABLE u (id bigint PRIMARY KEY, y st);
