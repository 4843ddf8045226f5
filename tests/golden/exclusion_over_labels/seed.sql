INSERT INTO booking VALUES (1, 'open', '[2026-01-01, 2026-01-02)'), (2, 'cancelled', '[2026-01-01, 2026-01-03)');
