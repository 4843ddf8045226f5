SELECT (count(*) = 2)::text FROM t WHERE (id, g) IN ((1, 2), (2, 4))
