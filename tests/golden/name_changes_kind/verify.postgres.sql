SELECT CAST((SELECT count(*) FROM v) = 0 AND (SELECT count(*) FROM w) = 1 AND (SELECT a FROM old) = 'y' AS text)
