CREATE TABLE u (id bigint NOT NULL PRIMARY KEY, e text, f text NOT NULL DEFAULT 'none');
CREATE INDEX u_f ON u (f);
