CREATE TABLE users (id bigint PRIMARY KEY, name text COLLATE "C" NOT NULL, note text COLLATE "C");
CREATE INDEX users_name ON users (name);
