INSERT INTO users (id, email, qty) VALUES (1, 'A@x', 5);
