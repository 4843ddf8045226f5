SELECT (bool_and(label = lower(code)))::text FROM rates
