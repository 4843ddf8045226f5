CREATE SEQUENCE invoice_no;
CREATE TABLE t (id bigint PRIMARY KEY, no bigint);
CREATE SEQUENCE own OWNED BY t.no;
