SELECT p_id = 1 AND code = 7 AND n = 0 AND o IS NULL FROM w
