SELECT CAST(count(*) = 1 AND min(m::text) = 'b' AS text) FROM u
