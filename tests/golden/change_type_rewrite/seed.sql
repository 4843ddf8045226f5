INSERT INTO users (id, email, qty) VALUES (1, 'A@x', 5), (2, 'B@x', 50);
