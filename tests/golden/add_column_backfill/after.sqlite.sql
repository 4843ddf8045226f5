CREATE TABLE users (id BIGINT NOT NULL PRIMARY KEY, email TEXT NOT NULL, email_key TEXT NOT NULL, CONSTRAINT users_email_key_check CHECK (email_key <> ''));
CREATE UNIQUE INDEX users_email_key_idx ON users (email_key);
CREATE INDEX users_len ON users (length(email_key));
