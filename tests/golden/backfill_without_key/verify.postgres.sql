SELECT (bool_and(label = upper(kind)))::text FROM events
