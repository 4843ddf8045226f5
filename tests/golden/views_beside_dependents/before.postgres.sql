CREATE TABLE o (id int PRIMARY KEY, amt int, n varchar(10), plain int);
CREATE VIEW ov AS SELECT id, amt FROM o;
CREATE VIEW nv AS SELECT id, n FROM o;
