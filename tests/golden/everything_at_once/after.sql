CREATE TABLE users (id BIGINT NOT NULL PRIMARY KEY, email TEXT NOT NULL, display_name TEXT, age INTEGER NOT NULL, mail_key TEXT NOT NULL, CONSTRAINT users_age_check CHECK (age >= 0));
CREATE INDEX users_display_name ON users (display_name, mail_key);
