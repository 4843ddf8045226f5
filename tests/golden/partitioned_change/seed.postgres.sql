INSERT INTO users VALUES (1), (2);
INSERT INTO events (id, user_id, kind, old, at) SELECT n, 1 + n % 2, CASE WHEN n % 3 = 0 THEN 'a' ELSE 'b' || n % 7 END, 'x' || n, date '2024-06-01' + (n % 400)::int FROM generate_series(1, 3000) n;
