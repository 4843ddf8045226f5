INSERT INTO a (x) VALUES ('1'), ('2'); INSERT INTO b (x) VALUES ('1'), ('2'); INSERT INTO c (x) VALUES ('1'), ('2'); SELECT nextval('s'), nextval('down')
