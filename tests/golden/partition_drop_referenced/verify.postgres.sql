SELECT (count(*) = 1)::text FROM ev
