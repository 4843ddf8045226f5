INSERT INTO u (id, e, f) VALUES (1, 'One', 'one'), (2, NULL, NULL);
