INSERT INTO s (t) VALUES ('a');
