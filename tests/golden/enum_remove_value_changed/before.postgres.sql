CREATE TYPE st AS ENUM ('a', 'old', 'b');
CREATE TABLE t (id bigint PRIMARY KEY, z st NOT NULL DEFAULT 'old', w st, gone st, CONSTRAINT t_z CHECK (z <> 'old' OR id > 0));
CREATE INDEX t_a ON t (z) WHERE z <> 'old';
