CREATE DOMAIN d AS text CHECK (length(VALUE) < 5);
CREATE DOMAIN over_it AS d NOT NULL DEFAULT 'x';
CREATE TABLE u (id int PRIMARY KEY, m d, ms d[], o over_it, CONSTRAINT m_is CHECK (m <> 'no'::d));
CREATE INDEX u_m ON u (m) WHERE m > 'a'::d;
