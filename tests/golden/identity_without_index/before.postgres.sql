CREATE TABLE t (id bigint PRIMARY KEY, n bigint NOT NULL);
CREATE TABLE small (id bigint PRIMARY KEY, n bigint NOT NULL);
