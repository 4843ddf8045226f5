SELECT pg_get_serial_sequence('s2', 'id') = 'public.s2_id_seq' AND nextval('s2_id_seq') = 2;
