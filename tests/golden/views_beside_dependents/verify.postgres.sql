SELECT (sum(amount) = 2 AND sum(bare) = 3)::text FROM o
