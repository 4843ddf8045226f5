SELECT CAST(nextval('b') = 8 AND nextval('"C d"') = 3 AND nextval('d') = 4 AS text)
