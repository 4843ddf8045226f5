CREATE TABLE users (id bigint PRIMARY KEY, display_name text NOT NULL);
CREATE VIEW people AS SELECT id, display_name FROM users;
CREATE VIEW known AS SELECT id, display_name FROM people WHERE display_name <> '';
CREATE VIEW counted AS SELECT count(id) AS n FROM known;
