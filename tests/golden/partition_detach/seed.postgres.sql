INSERT INTO events_2024 SELECT n, 1, 'a', 'b', date '2024-06-01' FROM generate_series(1, 100) n;
