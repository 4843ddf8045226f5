CREATE TABLE users (id BIGINT NOT NULL PRIMARY KEY, email TEXT NOT NULL, token TEXT NOT NULL DEFAULT (lower(hex(randomblob(8)))));
