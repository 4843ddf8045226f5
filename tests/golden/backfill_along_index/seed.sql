INSERT INTO rates (region, code, old) VALUES ('eu', 'A', 0), ('eu', 'B', 0), ('us', 'A', 1);
