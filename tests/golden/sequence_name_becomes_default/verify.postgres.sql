SELECT CAST(nextval('q_id_seq') = 2 AND nextval('s_no_seq') = 2 AND nextval('c_b_seq') = 2 AS text)
