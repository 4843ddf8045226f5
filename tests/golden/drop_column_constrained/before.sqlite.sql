CREATE TABLE users (id BIGINT NOT NULL PRIMARY KEY, email TEXT NOT NULL, nick TEXT NOT NULL, CONSTRAINT users_nick_check CHECK (nick <> ''));
CREATE UNIQUE INDEX users_nick_key ON users (nick);
