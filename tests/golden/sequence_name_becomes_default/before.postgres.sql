CREATE TABLE p (id int GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME q_id_seq) PRIMARY KEY);
CREATE SEQUENCE s_no_seq AS integer; CREATE TABLE r (no int NOT NULL DEFAULT nextval('s_no_seq') PRIMARY KEY, a text); ALTER SEQUENCE s_no_seq OWNED BY r.no;
CREATE SEQUENCE c_b_seq AS integer; CREATE TABLE c (id int PRIMARY KEY, a int NOT NULL DEFAULT nextval('c_b_seq')); ALTER SEQUENCE c_b_seq OWNED BY c.a;
