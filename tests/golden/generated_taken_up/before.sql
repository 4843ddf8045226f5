CREATE TABLE u (id bigint NOT NULL PRIMARY KEY, e text, f text);
CREATE INDEX u_f ON u (f);
