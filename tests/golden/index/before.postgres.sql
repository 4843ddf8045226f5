CREATE TABLE users (id BIGINT NOT NULL PRIMARY KEY, email TEXT NOT NULL, a integer, b jsonb);
CREATE INDEX i1 ON users (a);
CREATE INDEX i2 ON users (email);
