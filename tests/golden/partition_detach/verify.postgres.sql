SELECT (SELECT count(*) FROM events) = 0 AND (SELECT count(*) FROM events_2024) = 100
