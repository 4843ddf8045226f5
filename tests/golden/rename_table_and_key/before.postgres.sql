CREATE TABLE users (id serial PRIMARY KEY, name text NOT NULL);
CREATE TABLE orders (id bigint PRIMARY KEY, user_id integer NOT NULL, CONSTRAINT orders_user FOREIGN KEY (user_id) REFERENCES users (id));
