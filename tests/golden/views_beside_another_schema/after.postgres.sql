CREATE SCHEMA app;
CREATE TABLE app.items (id bigint PRIMARY KEY, headline text);
CREATE TABLE users (id bigint PRIMARY KEY, label text);
