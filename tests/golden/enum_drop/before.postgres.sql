CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE users (id BIGINT NOT NULL PRIMARY KEY, email TEXT NOT NULL, m mood);
