SELECT (SELECT count(*) FROM events) = 100 AND (SELECT count(*) FROM pg_constraint WHERE conrelid = 'events_2024'::regclass AND contype IN ('p', 'u', 'f')) = 3
