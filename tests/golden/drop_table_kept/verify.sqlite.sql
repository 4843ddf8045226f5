SELECT CAST(count(*) = 2 AS TEXT) FROM notes
