CREATE TABLE p (id bigint PRIMARY KEY);
CREATE TABLE t (
    id bigint PRIMARY KEY,
    a bigint NOT NULL DEFAULT 1 REFERENCES p (id),
    b bigint REFERENCES p (id),
    c varchar(10),
    CONSTRAINT apart CHECK (a > 0 AND b > 0)
);
CREATE INDEX t_both ON t (a, b);
CREATE VIEW sums AS SELECT id, a + b AS total FROM t;
