CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE TYPE span AS (low positive, high positive);
CREATE DOMAIN ordered AS span CHECK ((VALUE).low <= (VALUE).high);
CREATE TABLE t (id int PRIMARY KEY, o ordered);
