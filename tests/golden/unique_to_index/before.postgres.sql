CREATE TABLE t (id bigint PRIMARY KEY, a text, b text, CONSTRAINT x UNIQUE (a));
CREATE INDEX y ON t (b);
