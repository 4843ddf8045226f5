SELECT bool_and(since IS NOT DISTINCT FROM lower(period) AND every IS NOT DISTINCT FROM tags || extra AND shown IS NOT DISTINCT FROM lower(code) || '!')::text FROM t
