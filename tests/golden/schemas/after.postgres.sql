CREATE SCHEMA app;
CREATE SCHEMA stock;
CREATE TABLE app.users (id bigint PRIMARY KEY, "order" text NOT NULL);
CREATE TABLE stock."Items" (id bigint PRIMARY KEY, owner bigint REFERENCES app.users (id));
CREATE INDEX ON stock."Items" (owner);
