INSERT INTO users (id, email) VALUES (41, 'a'), (42, 'b'); DELETE FROM users WHERE id = 42; INSERT INTO notes VALUES (1, 41);
