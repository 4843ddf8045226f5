INSERT INTO users (id, email) VALUES (1, 'A@x'), (2, 'B@x'), (3, 'C@x');
