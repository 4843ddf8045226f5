CREATE DOMAIN amount AS integer CONSTRAINT positive CHECK (VALUE > 0) CONSTRAINT bounded CHECK (VALUE < 1000);
CREATE TABLE t (id bigint PRIMARY KEY, a amount);
