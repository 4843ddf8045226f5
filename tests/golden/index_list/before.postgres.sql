CREATE TABLE t (id bigint PRIMARY KEY, state varchar(9));
CREATE INDEX "i USING x" ON t (state) WHERE state IN ('a', 'b');
