CREATE TABLE users (id BIGINT NOT NULL PRIMARY KEY, email TEXT NOT NULL, nick varchar(20) CONSTRAINT c CHECK (nick <> 'root'));
