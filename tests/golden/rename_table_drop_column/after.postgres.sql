CREATE TABLE u (id int PRIMARY KEY, b int);
