CREATE TABLE users (id BIGINT NOT NULL PRIMARY KEY, description VARCHAR(20) NOT NULL, body TEXT);
CREATE INDEX users_description ON users (description);
