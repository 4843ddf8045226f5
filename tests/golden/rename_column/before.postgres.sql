CREATE TABLE users (id BIGINT NOT NULL PRIMARY KEY, email TEXT NOT NULL, fullname TEXT NOT NULL DEFAULT 'x' CONSTRAINT named CHECK (fullname <> ''));
ALTER TABLE users ADD CONSTRAINT users_name_uq UNIQUE (fullname);
CREATE INDEX users_name ON users (lower(fullname)) WHERE fullname IS NOT NULL;
