CREATE TABLE parents (id bigint PRIMARY KEY);
CREATE TABLE children (id bigint PRIMARY KEY, parent bigint NOT NULL REFERENCES parents);
CREATE INDEX ON children (parent);
