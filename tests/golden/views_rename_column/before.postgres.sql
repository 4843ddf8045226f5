CREATE TABLE users (id bigint PRIMARY KEY, fullname text NOT NULL, age integer);
CREATE INDEX users_fullname_idx ON users (fullname);
