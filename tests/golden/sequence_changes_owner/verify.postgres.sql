SELECT CAST(nextval('s') > 7 AND nextval('o') = 3 AND pg_get_serial_sequence('t', 'id') = 'public.s' AND pg_get_serial_sequence('u', 'id') IS NULL AS text)
