SELECT count(DISTINCT n) = 3 AND count(DISTINCT m) = 3 AND min(m) >= 100 AND count(DISTINCT s) = 3 FROM t
