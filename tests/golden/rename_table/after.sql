CREATE TABLE customers (id BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, vip BOOLEAN);
CREATE TABLE notes (id BIGINT NOT NULL PRIMARY KEY, client_id BIGINT, CONSTRAINT notes_client_id_fkey FOREIGN KEY (client_id) REFERENCES customers (id));
