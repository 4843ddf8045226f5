SELECT (SELECT count(*) FROM events) = 1 AND (SELECT count(*) FROM events_2024) = 100 AND (SELECT count(*) FROM notes) = 1
