CREATE TABLE groups (id bigint PRIMARY KEY);
CREATE TABLE nodes (tree bigint NOT NULL, id bigint NOT NULL, parent bigint, old bigint, grp bigint REFERENCES groups, PRIMARY KEY (tree, id));
ALTER TABLE nodes ADD CONSTRAINT nodes_old FOREIGN KEY (tree, old) REFERENCES nodes (tree, id);
CREATE INDEX nodes_parent ON nodes (tree, parent);
