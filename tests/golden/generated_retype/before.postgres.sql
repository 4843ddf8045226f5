CREATE TABLE t (id bigint PRIMARY KEY, b int, c int, g int GENERATED ALWAYS AS (b + c) STORED, h int GENERATED ALWAYS AS (b * 5) STORED);
CREATE INDEX t_g ON t (g);
