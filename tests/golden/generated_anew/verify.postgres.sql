SELECT (count(*) = 2)::text FROM t WHERE (id, g, h, k) IN ((1, 3, 3, 'k1'), (2, 6, 4, 'k2'))
