CREATE SEQUENCE invoice_no INCREMENT BY 2 CACHE 5;
CREATE TABLE t (id int PRIMARY KEY, no bigint DEFAULT nextval('invoice_no'::regclass));
CREATE SEQUENCE own OWNED BY t.no;
