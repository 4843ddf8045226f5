CREATE TABLE users (id BIGINT NOT NULL PRIMARY KEY, summary VARCHAR(20) NOT NULL, description TEXT);
CREATE INDEX users_summary ON users (summary);
