INSERT INTO users (id, state, tags) VALUES (1, true, 'a'), (2, false, NULL), (3, NULL, 'b');
