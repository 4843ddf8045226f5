INSERT INTO u (id, m, ms) VALUES (1, 'b', '{c}');
