SELECT sum(qty) = 12 AND pg_typeof(max(qty)) = 'bigint'::regtype FROM items
