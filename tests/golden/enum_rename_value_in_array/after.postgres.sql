CREATE TYPE mood AS ENUM ('sad', 'well', 'happy');
CREATE TABLE t (id int PRIMARY KEY, moods mood[] NOT NULL DEFAULT '{sad,well}'::mood[], CHECK (moods <> '{well}'::mood[]));
