SELECT (sum(n) = 8)::text FROM purchases
