INSERT INTO events (kind, note) VALUES ('a', 'same'), ('a', 'same'), ('b', NULL);
