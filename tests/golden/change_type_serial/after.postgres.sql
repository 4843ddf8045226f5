CREATE TABLE parents (id bigserial PRIMARY KEY, label text);
CREATE TABLE children (id bigserial PRIMARY KEY, parent bigint NOT NULL REFERENCES parents);
CREATE INDEX ON children (parent);
