CREATE TABLE o (id int PRIMARY KEY, amount int, n text, bare int);
CREATE VIEW ov AS SELECT id, amount AS amt FROM o;
CREATE VIEW nv AS SELECT id, n FROM o;
