CREATE SEQUENCE a; CREATE SEQUENCE d;
CREATE TABLE t (id bigint PRIMARY KEY DEFAULT nextval('a'), x text);
CREATE TABLE u (id serial PRIMARY KEY, x text);
CREATE TABLE v (id bigint PRIMARY KEY, x text);
CREATE TABLE w (id bigint PRIMARY KEY, n bigint DEFAULT nextval('a'));
CREATE TABLE x (id serial PRIMARY KEY); CREATE TABLE y (id serial PRIMARY KEY);
CREATE SEQUENCE odd INCREMENT BY 2; CREATE TABLE z (id int PRIMARY KEY DEFAULT nextval('a'));
