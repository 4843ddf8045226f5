INSERT INTO users (name) VALUES ('a'), ('b'); INSERT INTO orders VALUES (1, 2);
