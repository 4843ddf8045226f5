CREATE TABLE users (id integer PRIMARY KEY);
CREATE TABLE notes (id bigint PRIMARY KEY, user_id integer REFERENCES users (id));
