CREATE TABLE p (id bigint PRIMARY KEY);
CREATE TABLE t (id bigint NOT NULL, k integer NOT NULL, p_id bigint NOT NULL, a text) PARTITION BY LIST (k);
CREATE TABLE t_1 PARTITION OF t FOR VALUES IN (1);
CREATE INDEX t_a_id ON t (a, id);
