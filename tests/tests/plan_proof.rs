//! The proof of a plan with made-up rows: what only fails when there is a row is found, what only fails because rows are
//! made up is said, and so is a table that takes none.

use cargo_schemadiff::{
    dialect::{Connection, Scope, ddl},
    diff::{DiffOptions, Hints},
    planner::{PlanRequest, plan},
    prove::{Proof, prove},
};
use schemadiff::{model::Dialect, plan::Strategy};
use schemadiff_tests::engine::TestDatabase;

/// Plans the way from one schema to the other, with one backfill, and proves it.
async fn proof(
    dialect: Dialect,
    [before, after]: [&str; 2],
    backfill: Option<(&str, &str)>,
) -> cargo_schemadiff::Result<Proof> {
    let (from, to) = (TestDatabase::new(dialect), TestDatabase::new(dialect));
    from.execute(before).await;
    to.execute(after).await;
    let mut connection = Connection::open(&from.url).await?;
    let current = connection.introspect(&Scope::default()).await?.schema;
    let desired = Connection::open(&to.url).await?.introspect(&Scope::default()).await?.schema;
    let mut hints = Hints::default();
    if let Some((column, expr)) = backfill {
        for column in column.split(", ") {
            let column = ("t".parse().unwrap(), column.to_owned());
            match expr.strip_prefix("with ") {
                Some(call) => hints.backfills_with.insert(column, call.to_owned()),
                None => hints.backfills.insert(column, expr.to_owned()),
            };
        }
    }
    let ddl = ddl(dialect, connection.server().version)?;
    let plan = plan(&PlanRequest {
        current: &current,
        desired: &desired,
        hints: &hints,
        options: &DiffOptions::default(),
        ddl: &*ddl,
        sizes: &Default::default(),
        id: "20260102030405_proof",
        parent: None,
        strategy: &Strategy::synced(""),
    })?;
    let mut scratch = connection.scratch().await?;
    let proof = prove(&mut scratch.connection, &*ddl, &current, &plan).await;
    scratch.remove().await?;
    proof
}

const ENGINES: [Dialect; 2] = [Dialect::Postgres, Dialect::Sqlite];

#[tokio::test]
async fn all_kinds_of_tables_take_rows() {
    let rich = "CREATE TABLE p (id bigint NOT NULL PRIMARY KEY, self bigint NOT NULL REFERENCES p (id)); \
        CREATE TABLE q (a bigint NOT NULL, b varchar(3) NOT NULL, PRIMARY KEY (a, b)); \
        CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, p_id bigint NOT NULL REFERENCES p (id), qa bigint NOT NULL, qb varchar(3) NOT NULL, \
          kind text NOT NULL CHECK (kind IN ('it''s', 'b')), low integer NOT NULL, high integer NOT NULL, price numeric(6,2) NOT NULL CHECK (price >= 10 AND price < 20), \
          at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP, note text UNIQUE, CHECK (low < high), FOREIGN KEY (qa, qb) REFERENCES q (a, b))";
    for dialect in ENGINES {
        let after = format!("{rich}; CREATE INDEX t_kind ON t (kind)");
        let proof = proof(dialect, [rich, &after], None).await.unwrap();
        assert!(proof.without_rows.is_empty() && proof.remarks.is_empty(), "{proof:#?}");
        assert!(proof.rows >= 15, "{proof:#?}");
    }
    // Types that PostgreSQL has.
    let rich = "CREATE TYPE \"Mood\" AS ENUM ('sad', 'ok'); CREATE DOMAIN posint AS int CHECK (VALUE > 0); \
        CREATE TABLE t (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), n bigint GENERATED ALWAYS AS IDENTITY, mood \"Mood\" NOT NULL, moods \"Mood\"[] NOT NULL, \
          pos posint NOT NULL, at timestamptz(3) NOT NULL, day date NOT NULL, clock timetz NOT NULL, ip inet NOT NULL, net cidr NOT NULL, doc jsonb NOT NULL, \
          raw bytea NOT NULL, bits bit(4) NOT NULL, span int4range NOT NULL, took interval NOT NULL, tags text[] NOT NULL, num numeric(2,1) NOT NULL, c char(2) NOT NULL, \
          mail text NOT NULL CHECK (mail ~ '^[^@]+@[^@]+$'), twice int GENERATED ALWAYS AS (1 + 1) STORED)";
    let after = format!("{rich}; CREATE INDEX t_day ON t (day)");
    let proof = proof(Dialect::Postgres, [rich, &after], None).await.unwrap();
    assert!(proof.without_rows.is_empty() && proof.remarks.is_empty() && proof.rows > 5, "{proof:#?}");
}

#[tokio::test]
async fn an_expression_that_fails_when_it_runs_is_refused() {
    // PL/pgSQL looks at a body when it runs: a table without rows would hide it.
    let before = "CREATE TABLE t (id bigint PRIMARY KEY, name text NOT NULL); \
        CREATE FUNCTION folded(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN no_such_function($1); END'";
    let after = before.replace("name text NOT NULL", "name text NOT NULL, key text NOT NULL");
    let error = proof(Dialect::Postgres, [before, &after], Some(("key", "folded(name)"))).await.unwrap_err();
    assert_eq!(error.code, "SD0612", "{error}");
    assert!(error.to_string().contains("no_such_function"), "{error}");
}

#[tokio::test]
async fn a_trigger_that_fails_for_a_version_is_refused() {
    // The user's own trigger names a column that new code no longer fills by that name.
    let before = "CREATE TABLE t (id bigint PRIMARY KEY, name text NOT NULL); \
        CREATE FUNCTION loud() RETURNS trigger LANGUAGE plpgsql AS \
          'BEGIN IF NEW.id > 5 THEN NEW.name = upper(NEW.nmae); END IF; RETURN NEW; END'; \
        CREATE TRIGGER loud BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION loud()";
    let after = before.replace("name text NOT NULL)", "name text NOT NULL, more text)");
    let error = proof(Dialect::Postgres, [before, &after], None).await.unwrap_err();
    assert_eq!(error.code, "SD0624", "{error}");
    assert!(error.to_string().contains("nmae"), "{error}");
}

#[tokio::test]
async fn a_trigger_that_leaves_a_version_without_a_value_is_refused() {
    // The old version gives every column that it knows a value: that one is NULL is no fault of made-up rows.
    let t = |more: &str, from: &str| {
        format!(
            "CREATE TABLE t (id bigint PRIMARY KEY, name text NOT NULL, slug text NOT NULL{more}); \
             CREATE FUNCTION sluggish() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.slug = lower(NEW.{from}); RETURN NEW; END'; \
             CREATE TRIGGER sluggish BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION sluggish()"
        )
    };
    let (before, after) = (t("", "name"), t(", title text", "title"));
    let error = proof(Dialect::Postgres, [&before, &after], None).await.unwrap_err();
    assert_eq!(error.code, "SD0624", "{error}");
    assert!(error.to_string().contains("the old version could not write"), "{error}");
}

#[tokio::test]
async fn a_trigger_that_writes_to_another_table_finds_it() {
    let t = |more: &str| {
        format!(
            "CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, name text NOT NULL{more}); CREATE TABLE log (was text NOT NULL)"
        )
    };
    let trigger = |dialect| match dialect {
        Dialect::Sqlite => "CREATE TRIGGER logs AFTER UPDATE ON t BEGIN INSERT INTO log VALUES (OLD.name); END",
        _ => {
            "CREATE FUNCTION logs() RETURNS trigger LANGUAGE plpgsql AS \
               'BEGIN INSERT INTO log VALUES (OLD.name); RETURN NEW; END'; \
             CREATE TRIGGER logs AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION logs()"
        }
    };
    for dialect in ENGINES {
        let schema = |more| format!("{}; {}", t(more), trigger(dialect));
        let proof = proof(dialect, [&schema(""), &schema(", CHECK (length(name) < 1000)")], None).await.unwrap();
        assert!(proof.without_rows.is_empty() && proof.remarks.is_empty(), "{proof:#?}");
    }
    // A table that the model does not hold is not in the copy: then the trigger cannot run, and that is said.
    let search = "CREATE VIRTUAL TABLE search USING fts5(name); \
        CREATE TRIGGER s AFTER UPDATE ON t BEGIN INSERT INTO search VALUES (NEW.name); END";
    let schema = |more| format!("{}; {search}", t(more));
    let proof = proof(Dialect::Sqlite, [&schema(""), &schema(", CHECK (length(name) < 1000)")], None).await.unwrap();
    assert!(proof.remarks.iter().any(|r| r.contains("no such table") && r.contains("search")), "{proof:#?}");
}

#[tokio::test]
async fn new_code_may_write_what_only_its_check_lets_in() {
    let t = |kinds: &str| {
        format!(
            "CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, kind text NOT NULL, CONSTRAINT kinds CHECK (kind IN ({kinds})))"
        )
    };
    for dialect in ENGINES {
        for [before, after] in [["'a'", "'b', 'a'"], ["'a', 'b'", "'c', 'b'"]] {
            let proof = proof(dialect, [&t(before), &t(after)], None).await.unwrap();
            // Rows of the new version stand in the way of the old check, when `abort` brings that back.
            let is_other = |remark: &&String| !remark.contains("cannot be taken back on a made-up row");
            assert_eq!(proof.remarks.iter().find(is_other), None, "{before} -> {after}: {proof:#?}");
            assert!(proof.without_rows.is_empty(), "{proof:#?}");
        }
    }
}

#[tokio::test]
async fn what_fails_because_rows_are_made_up_is_said() {
    for dialect in ENGINES {
        let before = "CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, name text)";
        let after = "CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, name text, key text NOT NULL)";
        let proof = proof(dialect, [before, after], Some(("key", "nullif(name, name)"))).await.unwrap();
        assert!(proof.remarks.iter().any(|r| r.contains("backfill-t-key") && r.contains("rows")), "{proof:#?}");
    }
    let before = "CREATE TABLE t (id bigint PRIMARY KEY, name text NOT NULL)";
    let after = "CREATE TABLE t (id bigint PRIMARY KEY, name integer NOT NULL)";
    let proof = proof(Dialect::Postgres, [before, after], None).await.unwrap();
    assert!(proof.remarks.iter().any(|r| r.contains("invalid input syntax for type integer")), "{proof:#?}");
}

#[tokio::test]
async fn a_table_that_takes_no_row_is_named() {
    for dialect in ENGINES {
        let odd = "CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, code text NOT NULL CHECK (length(code) = 37 AND code LIKE 'Q%')); \
            CREATE TABLE u (id bigint NOT NULL PRIMARY KEY, t_id bigint NOT NULL REFERENCES t (id))";
        let after = format!("{odd}; CREATE INDEX u_t ON u (t_id)");
        let proof = proof(dialect, [odd, &after], None).await.unwrap();
        assert!(proof.without_rows["t"].to_lowercase().contains("check"), "{proof:#?}");
        assert!(proof.without_rows["u"].contains("`t`"), "{proof:#?}");
    }
}

#[tokio::test]
async fn what_only_the_application_can_say_is_made_up_for_the_proof() {
    let kinds = "text integer boolean float bytea timestamptz numeric(6,2) jsonb text[]";
    for dialect in ENGINES {
        let kinds: Vec<&str> = kinds.split(' ').take(if dialect == Dialect::Sqlite { 3 } else { 9 }).collect();
        for not_null in ["", " NOT NULL"] {
            let t = |more: &str| format!("CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, email text NOT NULL{more})");
            let columns: Vec<_> = (0..kinds.len()).map(|n| format!("sum{n}")).collect();
            let more: String = columns.iter().zip(&kinds).map(|(c, kind)| format!(", {c} {kind}{not_null}")).collect();
            let columns = columns.join(", ");
            let backfill = Some((columns.as_str(), "with digest(email, id)"));
            let proof = proof(dialect, [&t(""), &t(&more)], backfill).await.unwrap();
            assert!(proof.without_rows.is_empty() && proof.remarks.is_empty(), "{dialect:?}: {proof:#?}");
            assert!(proof.rows > 5 && proof.undone > 0, "{proof:#?}");
        }
    }
    // A table that has no key is walked by the place of its rows.
    let t = |more: &str| format!("CREATE TABLE t (email text{more})");
    for dialect in ENGINES {
        let backfill = Some(("sum", "with digest(email)"));
        proof(dialect, [&t(""), &t(", sum text")], backfill).await.unwrap();
    }
    for call in ["with digest(other)", "with digest()", "with digest(sum)"] {
        let error = proof(Dialect::Sqlite, [&t(""), &t(", sum text")], Some(("sum", call))).await.unwrap_err();
        assert_eq!(error.code, "SD0627", "{call}: {error}");
    }
}
