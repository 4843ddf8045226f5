CREATE TABLE users (id BIGINT NOT NULL PRIMARY KEY, email TEXT NOT NULL, display_name TEXT NOT NULL DEFAULT 'x' CONSTRAINT named CHECK (display_name <> ''));
ALTER TABLE users ADD CONSTRAINT users_name_uq UNIQUE (display_name);
CREATE INDEX users_name ON users (lower(display_name)) WHERE display_name IS NOT NULL;
