CREATE EXTENSION btree_gist;
CREATE TABLE t (id bigint PRIMARY KEY, v text);
