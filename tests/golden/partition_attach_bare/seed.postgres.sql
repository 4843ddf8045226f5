INSERT INTO users SELECT generate_series(1, 5); INSERT INTO events_2024 SELECT n, 1 + n % 5, 'c' || n, date '2024-06-01' FROM generate_series(1, 100) n;
