CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL, note text);
CREATE INDEX users_name ON users (name);
