CREATE TABLE t (id int PRIMARY KEY, a timestamp NOT NULL, b timestamp NOT NULL, c timestamp(3) with time zone);
CREATE INDEX t_c ON t (c);
