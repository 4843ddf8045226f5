SELECT count(*) = 0 FROM events_2024
