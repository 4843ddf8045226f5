SELECT (SELECT count(*) FROM events) = 100 AND (SELECT count(*) FROM l) = 2
