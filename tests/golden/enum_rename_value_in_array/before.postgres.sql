CREATE TYPE mood AS ENUM ('sad', 'so so', 'happy');
CREATE TABLE t (id int PRIMARY KEY, moods mood[] NOT NULL DEFAULT '{sad,"so so"}'::mood[], CHECK (moods <> '{"so so"}'::mood[]));
