CREATE TABLE users (id BIGINT NOT NULL PRIMARY KEY, email TEXT NOT NULL, fullname TEXT, age INT CONSTRAINT old_enough CHECK (age > 0));
