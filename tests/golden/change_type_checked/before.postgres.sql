CREATE TABLE users (id bigint PRIMARY KEY, nick varchar(10) NOT NULL, mail varchar(20) NOT NULL, code varchar(5), plain varchar(5));
ALTER TABLE users ADD CONSTRAINT nick_long CHECK (length(nick) > 1);
CREATE INDEX users_mail ON users (lower(mail));
CREATE INDEX users_code ON users (id) WHERE code IS NOT NULL;
CREATE INDEX users_plain ON users (plain);
