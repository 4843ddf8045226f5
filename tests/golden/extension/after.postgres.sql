CREATE EXTENSION citext;
CREATE TABLE t (id bigint PRIMARY KEY, v text, w citext);
