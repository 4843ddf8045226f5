CREATE TABLE p (id int PRIMARY KEY);
CREATE TABLE t (id int PRIMARY KEY, b text NOT NULL CHECK (b <> ''), q int CONSTRAINT least_too CHECK (q > 1), p int CONSTRAINT of_p REFERENCES p (id) ON DELETE SET NULL);
CREATE INDEX t_p ON t (p);
