SELECT CAST(count(*) = 2 AND min(f) = 'one' AS text) FROM u
