INSERT INTO u (id, e) VALUES (1, 'One'), (2, 'Two');
