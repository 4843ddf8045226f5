CREATE DOMAIN amount AS integer CONSTRAINT bounded CHECK (VALUE < 2000);
CREATE TABLE t (id bigint PRIMARY KEY, a amount);
