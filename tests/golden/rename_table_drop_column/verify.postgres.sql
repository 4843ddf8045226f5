SELECT (sum(b) = 3)::text FROM u
