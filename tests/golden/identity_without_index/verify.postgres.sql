SELECT nextval('t_id_seq') = 8 AND nextval('t_n_seq') = 1 AND nextval('small_n_seq') = 71
