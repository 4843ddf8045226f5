INSERT INTO items VALUES (1, 5, 'a'), (2, 7, NULL);
