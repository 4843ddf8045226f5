SELECT CAST(b = 'x ' AND plain(a) = 'x' AS text) FROM t
