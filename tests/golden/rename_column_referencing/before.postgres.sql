CREATE TABLE authors (id bigint PRIMARY KEY, name text);
CREATE TABLE books (id bigint PRIMARY KEY, author_id bigint NOT NULL, editor_id bigint REFERENCES authors);
ALTER TABLE books ADD CONSTRAINT books_by FOREIGN KEY (author_id) REFERENCES authors ON DELETE CASCADE;
CREATE INDEX books_author ON books (author_id); CREATE INDEX books_editor ON books (editor_id);
