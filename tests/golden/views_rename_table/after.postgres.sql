CREATE TABLE people (id bigint PRIMARY KEY, label text, extra integer);
ALTER TABLE people RENAME CONSTRAINT people_pkey TO users_pkey;
CREATE TABLE notes (id bigint PRIMARY KEY, user_id bigint REFERENCES people (id));
