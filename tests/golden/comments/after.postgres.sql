CREATE TABLE users (id BIGINT NOT NULL PRIMARY KEY, email TEXT NOT NULL, CONSTRAINT c CHECK (id > 0));
CREATE INDEX i ON users (email);
CREATE TYPE mood AS ENUM ('ok');
COMMENT ON TABLE users IS 'it''s new';
COMMENT ON COLUMN users.email IS 'mail';
COMMENT ON CONSTRAINT c ON users IS 'positive';
COMMENT ON INDEX i IS 'fast';
COMMENT ON TYPE mood IS 'how it is';
