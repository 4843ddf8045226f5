INSERT INTO a SELECT n, date '2024-06-01' + (n % 900)::int FROM generate_series(1, 3000) n;
