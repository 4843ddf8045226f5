CREATE TABLE users (id BIGINT NOT NULL PRIMARY KEY, email TEXT NOT NULL, nick text CONSTRAINT c CHECK (nick <> 'root'));
