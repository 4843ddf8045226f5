CREATE TABLE users (id BIGINT NOT NULL PRIMARY KEY, email TEXT NOT NULL, fullname TEXT NOT NULL DEFAULT 'x', CONSTRAINT named CHECK (fullname <> ''));
CREATE UNIQUE INDEX users_name_uq ON users (fullname);
CREATE INDEX users_name ON users (lower(fullname)) WHERE fullname IS NOT NULL;
