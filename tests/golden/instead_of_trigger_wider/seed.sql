INSERT INTO v (id, b) VALUES (1, 'x');
