SELECT CAST(has_column_privilege('pg_monitor', 'v', 'id', 'SELECT') AND has_column_privilege('pg_monitor', 'v', 'a', 'UPDATE') AND NOT has_column_privilege('pg_monitor', 'v', 'a', 'SELECT')
  AND has_column_privilege('pg_signal_backend', 'v', 'a', 'SELECT WITH GRANT OPTION') AND obj_description('m_a'::regclass) = 'key' AND attstattarget = 55 AS text)
FROM pg_attribute WHERE attrelid = 'm'::regclass AND attname = 'a'
