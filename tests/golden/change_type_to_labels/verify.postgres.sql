SELECT CAST(string_agg(id || ' ' || ok || ' ' || coalesce(was::text, '-') || ' ' || mood, ', ' ORDER BY id) = '1 good bad bad, 2 bad - good' AS text) FROM t
