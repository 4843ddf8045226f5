SELECT (count(*) = 1)::text FROM app.t
