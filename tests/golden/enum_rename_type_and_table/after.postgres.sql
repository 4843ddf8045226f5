CREATE TYPE humour AS ENUM ('sad', 'ok'); CREATE TABLE users (id bigint PRIMARY KEY, m humour NOT NULL);
