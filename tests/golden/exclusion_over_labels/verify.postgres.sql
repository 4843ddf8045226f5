SELECT count(*) FILTER (WHERE state = 'canceled') = 1 FROM booking
