CREATE SEQUENCE invoice;
CREATE TABLE t (id int PRIMARY KEY, no bigint DEFAULT nextval('invoice'::regclass));
