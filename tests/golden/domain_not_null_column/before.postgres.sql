CREATE DOMAIN word AS text NOT NULL;
CREATE TABLE t (id bigint PRIMARY KEY, a text);
