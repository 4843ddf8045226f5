CREATE TABLE t (id bigint PRIMARY KEY, period int4range NOT NULL, tags text[] NOT NULL, extra text[], code text, since integer, every text[], shown text);
