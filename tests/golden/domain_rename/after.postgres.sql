CREATE DOMAIN dd AS text CHECK (length(VALUE) < 5);
COMMENT ON DOMAIN dd IS 'short';
CREATE DOMAIN over_it AS dd NOT NULL DEFAULT 'x';
CREATE TABLE u (id int PRIMARY KEY, m dd, ms dd[], o over_it, CONSTRAINT m_is CHECK (m <> 'no'::dd));
CREATE INDEX u_m ON u (m) WHERE m > 'a'::dd;
