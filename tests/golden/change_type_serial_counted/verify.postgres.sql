SELECT pg_sequence_last_value('t_id_seq') = 2 AND (SELECT sum(id) FROM t) = 3 AND (SELECT sum(t_id) FROM line) = 3
