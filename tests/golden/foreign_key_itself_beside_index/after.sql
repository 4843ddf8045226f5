CREATE TABLE nodes (id BIGINT NOT NULL PRIMARY KEY, code BIGINT NOT NULL, c INTEGER NOT NULL, parent BIGINT, root BIGINT, CONSTRAINT nodes_code UNIQUE (code),
    CONSTRAINT nodes_parent_fk FOREIGN KEY (parent) REFERENCES nodes (id), CONSTRAINT nodes_root_fk FOREIGN KEY (root) REFERENCES nodes (code));
CREATE INDEX nodes_b ON nodes (c, id);
CREATE INDEX nodes_parent ON nodes (parent);
CREATE INDEX nodes_root ON nodes (root);
