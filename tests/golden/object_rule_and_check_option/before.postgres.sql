CREATE TABLE u (id bigint PRIMARY KEY, n integer);
CREATE VIEW v AS SELECT id, n FROM u WHERE n > 0;
