CREATE TABLE users (id bigint PRIMARY KEY, display_name text NOT NULL, age integer);
CREATE INDEX users_display_name_idx ON users (display_name);
