CREATE TABLE people (number serial, name text NOT NULL, CONSTRAINT users_pkey PRIMARY KEY (number));
CREATE TABLE purchases (id bigint, user_id integer NOT NULL, CONSTRAINT orders_pkey PRIMARY KEY (id), CONSTRAINT orders_user FOREIGN KEY (user_id) REFERENCES people (number));
