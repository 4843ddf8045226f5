SELECT CAST(count(*) = 1 AS TEXT) FROM customers
