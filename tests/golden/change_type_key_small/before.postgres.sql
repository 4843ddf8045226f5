CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE children (id bigint PRIMARY KEY, parent int NOT NULL REFERENCES parents);
CREATE INDEX ON children (parent);
