CREATE TABLE parents (id serial PRIMARY KEY, label text);
CREATE TABLE children (id serial PRIMARY KEY, parent int NOT NULL REFERENCES parents);
CREATE INDEX ON children (parent);
