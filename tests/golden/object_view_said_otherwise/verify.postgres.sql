SELECT CAST((SELECT count(*) FROM m) = 1 AND obj_description('m_a'::regclass) = 'another' AS text)
