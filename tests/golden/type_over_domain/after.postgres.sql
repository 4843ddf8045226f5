CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE TYPE span AS (low positive, high positive);
CREATE DOMAIN ordered AS span CHECK ((VALUE).low <= (VALUE).high);
CREATE DOMAIN short AS text CHECK (length(VALUE) < 9);
CREATE TYPE named AS (name short, at ordered);
CREATE DOMAIN known AS named CHECK ((VALUE).name IS NOT NULL);
CREATE TABLE t (id int PRIMARY KEY, o ordered, k named);
