CREATE TABLE users (id BIGINT NOT NULL PRIMARY KEY, email TEXT NOT NULL, qty bigint NOT NULL DEFAULT 1 CONSTRAINT pos CHECK (qty > 0));
ALTER TABLE users ADD CONSTRAINT users_uq UNIQUE (email, qty);
CREATE INDEX users_qty ON users (qty DESC) WHERE qty > 10;
COMMENT ON COLUMN users.qty IS 'how many';
COMMENT ON INDEX users_qty IS 'many';
