CREATE TYPE mood AS ENUM ('awful', 'sad', 'so', 'so so', 'ok', 'great');
CREATE TABLE users (id BIGINT NOT NULL PRIMARY KEY, email TEXT NOT NULL, m mood);
