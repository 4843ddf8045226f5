SELECT CAST(count(*) = 2 AND min(f) = 'one' AND max(f) = 'two' AS text) FROM u
