INSERT INTO users (id, description, body) VALUES (1, 'short', 'long');
