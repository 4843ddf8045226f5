SELECT (moods::text = '{sad,well}')::text FROM t
