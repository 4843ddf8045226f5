SELECT CAST(t = 'A' AS text) FROM titles
