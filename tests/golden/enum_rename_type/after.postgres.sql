CREATE TYPE feeling AS ENUM ('sad', 'ok');
CREATE TABLE t (id int PRIMARY KEY, m feeling DEFAULT 'ok');
