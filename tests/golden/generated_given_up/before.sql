CREATE TABLE u (id bigint NOT NULL PRIMARY KEY, e text, f text GENERATED ALWAYS AS (lower(e)) STORED);
CREATE INDEX u_f ON u (f);
