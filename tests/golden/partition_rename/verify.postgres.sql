SELECT count(*) = 3000 FROM happenings
