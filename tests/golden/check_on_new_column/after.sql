CREATE TABLE users (id BIGINT NOT NULL PRIMARY KEY, email TEXT NOT NULL, age INTEGER, CONSTRAINT users_age_check CHECK (age > 0));
CREATE UNIQUE INDEX users_age ON users (age);
