SELECT CAST(count(*) = 2 AS text) FROM k WHERE c IN (1, 7)
