SELECT CAST(a = 5 AS text) FROM j
