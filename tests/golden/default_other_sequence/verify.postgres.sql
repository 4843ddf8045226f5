SELECT CAST(nextval('b') = 8 AND nextval('"C d"') = 3 AND nextval('d') = 4 AND nextval('x_id_seq') = 101 AND nextval('odd') = 11 AS text)
