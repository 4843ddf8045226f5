SELECT CAST(sum(number) = 3 AS text) FROM t
