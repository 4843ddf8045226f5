SELECT count(*) > 0 AND min(at) >= '2025-01-01' FROM events
