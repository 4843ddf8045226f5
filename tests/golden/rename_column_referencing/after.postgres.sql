CREATE TABLE writers (id bigint, name text, CONSTRAINT authors_pkey PRIMARY KEY (id));
CREATE TABLE books (id bigint PRIMARY KEY, writer_id bigint NOT NULL, editor_id bigint REFERENCES writers);
ALTER TABLE books ADD CONSTRAINT books_by FOREIGN KEY (writer_id) REFERENCES writers ON DELETE CASCADE;
CREATE INDEX books_author ON books (writer_id); CREATE INDEX books_editor ON books (editor_id);
