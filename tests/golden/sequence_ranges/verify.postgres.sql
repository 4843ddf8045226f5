SELECT nextval('a_id_seq') = -1 AND nextval('b_id_seq') = 1000 AND nextval('c_id_seq') = 100 AND nextval('s') = 5000 AND nextval('down') = -1
