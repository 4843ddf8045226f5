CREATE TABLE parents (code varchar(10) PRIMARY KEY);
CREATE TABLE children (id bigint PRIMARY KEY, parent varchar(10) NOT NULL REFERENCES parents, again varchar(10) REFERENCES parents);
CREATE INDEX ON children (parent); CREATE INDEX ON children (again);
