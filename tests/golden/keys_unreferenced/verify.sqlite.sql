SELECT count(*) = 2 FROM k WHERE c IN (1, 7)
