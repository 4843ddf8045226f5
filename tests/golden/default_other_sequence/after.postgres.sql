CREATE SEQUENCE a; CREATE SEQUENCE b; CREATE SEQUENCE "C d"; CREATE SEQUENCE d;
CREATE TABLE t (id bigint PRIMARY KEY DEFAULT nextval('b'), x text);
CREATE TABLE u (id integer PRIMARY KEY DEFAULT nextval('"C d"'), x text);
CREATE TABLE v (id bigserial PRIMARY KEY, x text);
DROP SEQUENCE v_id_seq CASCADE; ALTER SEQUENCE d OWNED BY v.id; ALTER TABLE v ALTER id SET DEFAULT nextval('d');
CREATE TABLE w (id bigint PRIMARY KEY, n bigint DEFAULT nextval('b'));
