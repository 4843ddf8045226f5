INSERT INTO versions VALUES (1, '1.2');
