SELECT CAST(min(label = upper(kind)) AS TEXT) FROM events
