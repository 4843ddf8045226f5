SELECT CAST(nextval('users_id_seq') = 4 AND nextval('orders_id_seq') = 3 AND pg_get_serial_sequence('orders', 'id') = 'public.orders_id_seq'
  AND (SELECT count(*) FROM pg_sequences WHERE data_type = 'bigint'::regtype) = 2 AND (SELECT sum(user_id) FROM profiles) = 2
  AND (SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated) = 3 AND obj_description((SELECT oid FROM pg_constraint WHERE conname = 'orders_pkey')) = 'key' AS text)
