SELECT count(*) = 2 FROM booking
