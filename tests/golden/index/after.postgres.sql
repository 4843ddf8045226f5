CREATE TABLE users (id BIGINT NOT NULL PRIMARY KEY, email TEXT NOT NULL, a integer, b jsonb);
CREATE INDEX i1 ON users (a DESC NULLS LAST) INCLUDE (email) WHERE a > 0;
CREATE INDEX i3 ON users USING gin (b);
CREATE INDEX i4 ON users (lower(email), a);
