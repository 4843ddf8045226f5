SELECT CAST((SELECT count(*) FROM l) = 1 AND (SELECT count(*) FROM a) = 1 AS text)
