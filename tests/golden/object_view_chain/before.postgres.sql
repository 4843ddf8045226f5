CREATE TABLE users (id bigint PRIMARY KEY, fullname text NOT NULL);
CREATE VIEW people AS SELECT id, fullname FROM users;
CREATE VIEW known AS SELECT id, fullname FROM people WHERE fullname <> '';
CREATE VIEW counted AS SELECT count(id) AS n FROM known;
