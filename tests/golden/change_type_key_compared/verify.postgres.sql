SELECT (count(*) = 1)::text FROM c JOIN t ON t.id = c.t
