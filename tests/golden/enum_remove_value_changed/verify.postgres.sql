SELECT (count(*) = 2)::text FROM t WHERE (id, y, coalesce(w, '-')) IN ((1, 'a', 'old'), (2, 'b', '-'))
