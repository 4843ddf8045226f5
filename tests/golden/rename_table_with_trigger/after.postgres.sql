CREATE TABLE purchases (id int PRIMARY KEY, n int);
CREATE FUNCTION count_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.n := coalesce(NEW.n, 0) + 1; RETURN NEW; END $$;
CREATE TRIGGER up BEFORE INSERT OR UPDATE ON purchases FOR EACH ROW EXECUTE FUNCTION count_up();
