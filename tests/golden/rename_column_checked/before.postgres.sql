CREATE TABLE p (id int PRIMARY KEY);
CREATE TABLE t (id int PRIMARY KEY, a text NOT NULL CHECK (a <> ''), q int CONSTRAINT least CHECK (q > 0), p int REFERENCES p (id));
CREATE INDEX t_p ON t (p);
