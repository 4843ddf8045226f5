CREATE TABLE users (id bigint PRIMARY KEY, nick varchar(30) NOT NULL, mail varchar(40) NOT NULL, code varchar(10), plain varchar(10));
ALTER TABLE users ADD CONSTRAINT nick_long CHECK (length(nick) > 1);
CREATE INDEX users_mail ON users (lower(mail));
CREATE INDEX users_code ON users (id) WHERE code IS NOT NULL;
CREATE INDEX users_plain ON users (plain);
