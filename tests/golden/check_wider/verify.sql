SELECT count(*) = 2 FROM t WHERE kind IN ('a', 'b');
