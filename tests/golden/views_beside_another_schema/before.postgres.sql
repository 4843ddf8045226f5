CREATE SCHEMA app;
CREATE TABLE app.items (id bigint PRIMARY KEY, title text);
CREATE TABLE users (id bigint PRIMARY KEY, name text);
