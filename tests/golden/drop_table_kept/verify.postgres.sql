SELECT (count(*) = 2)::text FROM notes
