SELECT CAST(min(label = lower(code)) AS TEXT) FROM rates
