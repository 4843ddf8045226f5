//! What PostgreSQL holds is read into the model, rendered from it, and read back the same.

use cargo_schemadiff::dialect::{Connection, Ddl, Scope, postgres::Postgres as Renderer};
use schemadiff::model::{IdentityKind, ObjectName, Schema};
use schemadiff_tests::engine::{Postgres, TestDatabase};

async fn read(database: &TestDatabase) -> Schema {
    let mut connection = Connection::open(&database.url).await.unwrap();
    connection.introspect(&Scope::default()).await.unwrap().schema
}

/// Renders everything of a schema with our own statements.
fn render(schema: &Schema) -> Vec<String> {
    let ddl = Renderer::new(150_000);
    let mut statements = Vec::new();
    for name in schema.tables.keys().chain(schema.enums.keys()).filter_map(|name| name.schema.as_deref()) {
        statements.extend(ddl.create_schema(name));
    }
    statements.extend(schema.enums.values().flat_map(|e| ddl.create_enum(e)));
    statements.extend(schema.domains_inner_first().into_iter().flat_map(|d| ddl.create_domain(d)));
    statements.extend(schema.parents_first().into_iter().flat_map(|t| ddl.create_table(t)));
    for table in schema.tables.values() {
        for (name, key) in table.foreign_keys.iter().filter(|(_, key)| key.ref_table != table.name) {
            statements.extend(ddl.add_foreign_key(&table.name, name, key));
            if let Some(comment) = &key.comment {
                statements.extend(ddl.comment_on_constraint(&table.name, name, Some(comment)));
            }
        }
    }
    statements.extend(schema.compat_views.values().flat_map(|v| ddl.create_compat_view(v, &schema.tables[&v.table])));
    statements
}

const EVERYTHING: &str = r#"
CREATE SCHEMA app;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s fine');
CREATE TYPE app."Weird type" AS ENUM ('a');
COMMENT ON TYPE mood IS 'how one feels';
CREATE TABLE parent (id bigint GENERATED ALWAYS AS IDENTITY (START WITH 1000 INCREMENT BY 5) PRIMARY KEY, a int, b int, UNIQUE (a, b));
CREATE TABLE "we""ird table" (
  "select" serial PRIMARY KEY, "two words" text COLLATE "C" NOT NULL DEFAULT 'x\y''z', current mood DEFAULT 'ok',
  other app."Weird type"[], price numeric(10,2) NOT NULL DEFAULT 0, small smallserial,
  total numeric GENERATED ALWAYS AS (price * 2) STORED, at timestamptz(3) DEFAULT (now() AT TIME ZONE 'UTC'),
  pa int, pb int, self int REFERENCES "we""ird table" ON DELETE SET NULL, tags varchar(5)[] DEFAULT '{}', name varchar(7),
  CONSTRAINT price_positive CHECK (price > 0 AND name IN ('a', 'b')) NO INHERIT,
  CONSTRAINT uq UNIQUE (name, price) INCLUDE (pa) DEFERRABLE INITIALLY DEFERRED,
  CONSTRAINT nnd UNIQUE NULLS NOT DISTINCT (pb),
  CONSTRAINT fk FOREIGN KEY (pa, pb) REFERENCES parent (a, b) MATCH FULL ON UPDATE CASCADE ON DELETE RESTRICT DEFERRABLE
) WITH (fillfactor = 70);
ALTER TABLE "we""ird table" ADD CONSTRAINT unproven CHECK (pa < 10) NOT VALID;
COMMENT ON TABLE "we""ird table" IS 'a table'; COMMENT ON COLUMN "we""ird table"."two words" IS 'it''s a column';
COMMENT ON CONSTRAINT price_positive ON "we""ird table" IS 'a check'; COMMENT ON CONSTRAINT fk ON "we""ird table" IS 'a key';
CREATE INDEX plain ON "we""ird table" (name DESC, price NULLS FIRST, pa DESC NULLS LAST);
CREATE UNIQUE INDEX expr ON "we""ird table" (lower(name), (price + 1), "two words") INCLUDE (pb) WHERE pa IS NOT NULL AND name <> '';
CREATE INDEX pattern ON "we""ird table" (name varchar_pattern_ops, "two words" COLLATE "POSIX", lower(name) COLLATE "C");
CREATE INDEX gin ON "we""ird table" USING gin (tags) WITH (fastupdate = off);
COMMENT ON INDEX gin IS 'an index';
CREATE UNLOGGED TABLE app.parent (id bigserial, k uuid DEFAULT gen_random_uuid(), m mood, PRIMARY KEY (k, id));
CREATE SEQUENCE free;
CREATE VIEW v AS SELECT 1 AS one; CREATE MATERIALIZED VIEW mv AS SELECT 1 AS one;
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER tr BEFORE INSERT ON parent FOR EACH ROW EXECUTE FUNCTION f();
CREATE DOMAIN d AS int DEFAULT 3 NOT NULL CHECK (VALUE > 0); COMMENT ON DOMAIN d IS 'a domain';
COMMENT ON CONSTRAINT d_check ON DOMAIN d IS 'a rule'; CREATE DOMAIN app.e AS d; ALTER DOMAIN app.e ADD CONSTRAINT low CHECK (VALUE < 9) NOT VALID;
CREATE TABLE timely (id app.e, r int4range, PRIMARY KEY (id) INCLUDE (r) DEFERRABLE INITIALLY DEFERRED); COMMENT ON CONSTRAINT timely_pkey ON timely IS 'a key';
CREATE TYPE comp AS (x int);
CREATE TABLE parted (k int, "K" text DEFAULT 'x', n int, CONSTRAINT up CHECK (k > 0), PRIMARY KEY (k, n), FOREIGN KEY (k, n) REFERENCES parent (a, b))
  PARTITION BY LIST (k);
CREATE INDEX on_parted ON parted ("K");
CREATE TABLE part PARTITION OF parted ("K" DEFAULT 'y', CONSTRAINT low CHECK (k < 9)) FOR VALUES IN (1, 2) PARTITION BY RANGE (n);
CREATE TABLE another PARTITION OF part FOR VALUES FROM (MINVALUE) TO (5);
CREATE TABLE by_words (n int, t text) PARTITION BY RANGE (n, lower(t) COLLATE "C" text_pattern_ops);
CREATE TABLE by_words_1 PARTITION OF by_words FOR VALUES FROM (MINVALUE, MINVALUE) TO (5, 'm');
CREATE INDEX only_here ON another (n); COMMENT ON COLUMN another.n IS 'own';
CREATE TABLE rest PARTITION OF parted DEFAULT; CREATE TRIGGER on_each AFTER INSERT ON parted FOR EACH ROW EXECUTE FUNCTION f();
CREATE TABLE excl (r int4range, EXCLUDE USING gist (r WITH &&)); ALTER TABLE excl ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON excl USING (true); CREATE RULE r AS ON INSERT TO excl DO ALSO NOTIFY x;
CREATE STATISTICS st ON a, b FROM parent;
ALTER TABLE parent REPLICA IDENTITY FULL, ALTER a SET STATISTICS 500;
ALTER TABLE "we""ird table" ALTER "two words" SET STORAGE EXTERNAL, ALTER tags SET COMPRESSION pglz;
CREATE EXTENSION citext;
"#;

#[tokio::test]
async fn everything_in_the_model_round_trips() {
    let (first, second) = (Postgres::shared().database(), Postgres::shared().database());
    let version = Connection::open(&first.url).await.unwrap().server().version;
    let nulls_not_distinct = version >= 150_000;
    let everything =
        if nulls_not_distinct { EVERYTHING.to_owned() } else { EVERYTHING.replace(" NULLS NOT DISTINCT", "") };
    first.execute(&everything).await;
    let original = read(&first).await;
    for statement in render(&original) {
        second.execute(&statement).await;
    }
    let mut copy = read(&second).await;
    copy.opaque.clone_from(&original.opaque);
    copy.objects.clone_from(&original.objects);
    for (name, table) in &original.tables {
        assert_eq!(copy.tables.get(name), Some(table), "{name}");
    }
    assert_eq!(copy, original);
    if nulls_not_distinct {
        insta::assert_json_snapshot!("everything", original);
    }
}

#[tokio::test]
async fn schemadiffs_own_schema_and_triggers_of_the_system_are_not_shown() {
    let database = Postgres::shared().database();
    database
        .execute("CREATE SCHEMA schemadiff; CREATE TABLE schemadiff.step (id int); CREATE TABLE t (id int PRIMARY KEY)")
        .await;
    let schema = read(&database).await;
    assert_eq!(schema.tables.keys().collect::<Vec<_>>(), [&ObjectName::new("t")]);
    assert_eq!(schema.opaque, []);
}

#[tokio::test]
async fn a_sequence_that_is_only_owned_is_no_serial() {
    let database = Postgres::shared().database();
    database.execute("CREATE TABLE t (id serial, n int); CREATE SEQUENCE s OWNED BY t.n; CREATE SEQUENCE free; ALTER TABLE t ADD m int DEFAULT nextval('free')").await;
    let schema = read(&database).await;
    let table = &schema.tables[&ObjectName::new("t")];
    assert_eq!(table.column("id").unwrap().identity.as_ref().unwrap().kind, IdentityKind::Serial);
    assert_eq!(table.column("n").unwrap().identity, None);
    assert_eq!(table.column("m").unwrap().default.as_deref(), Some("nextval('free'::regclass)"));
    let sequences: Vec<_> = schema.objects.values().map(|o| (o.key.to_string(), o.owned_by.clone())).collect();
    let owner = Some((ObjectName::new("t"), "n".to_owned()));
    assert_eq!(sequences, [("sequence `free`".to_owned(), None), ("sequence `s`".to_owned(), owner)]);
    assert_eq!(schema.opaque, []);
}
