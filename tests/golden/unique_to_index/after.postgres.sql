CREATE TABLE t (id bigint PRIMARY KEY, a text, b text, CONSTRAINT y UNIQUE (b));
CREATE UNIQUE INDEX x ON t (a);
