CREATE TABLE nodes (tree bigint NOT NULL, id bigint NOT NULL, parent bigint, PRIMARY KEY (tree, id));
ALTER TABLE nodes ADD CONSTRAINT nodes_parent FOREIGN KEY (tree, parent) REFERENCES nodes (tree, id) DEFERRABLE INITIALLY DEFERRED;
CREATE INDEX nodes_parent ON nodes (tree, parent);
