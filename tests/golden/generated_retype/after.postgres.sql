CREATE TABLE t (id bigint PRIMARY KEY, b bigint, c bigint, g bigint GENERATED ALWAYS AS (b + c) STORED);
CREATE INDEX t_g ON t (g);
