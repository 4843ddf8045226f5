//! The statements that old and new code live on, on a real server: sync triggers, backfills, identity, views.

use cargo_schemadiff::dialect::{
    Connection, Ddl as _, Numbering as _, PerPartition, Scope, SyncSpec, TypeChange, Volatility,
    postgres::Postgres as Renderer,
};
use schemadiff::{
    model::{Column, CompatView, Deferrable, FkAction, ForeignKey, Identity, IdentityKind, ObjectName, Table, Unique},
    plan::{Assignment, Backfill, KeyColumn},
};
use schemadiff_tests::engine::{Postgres, TestDatabase};

const DDL: Renderer = Renderer::new(150_000);

async fn open(database: &TestDatabase) -> Connection {
    database.has_ledger_schema().await;
    Connection::open(&database.url).await.unwrap()
}

async fn run(connection: &mut Connection, sql: &str) {
    connection.run(&[sql.to_owned()]).await.unwrap();
}

/// The columns of the first row, joined.
async fn row(connection: &mut Connection, sql: &str) -> String {
    let row = connection.query_row(sql, &[]).await.unwrap().unwrap_or_default();
    row.into_iter().map(|v| v.unwrap_or_else(|| "NULL".into())).collect::<Vec<_>>().join("|")
}

/// Walks a backfill to its end, as the executor does. Returns batches and changed rows.
async fn walk(connection: &mut Connection, backfill: &Backfill, size: u32) -> (u32, u64) {
    let Some(upper) = connection.query_row(&backfill.upper_sql, &[]).await.unwrap() else { return (0, 0) };
    let keys = backfill.key.len();
    let waiting = |row: String| row.parse::<u64>().unwrap();
    let before = waiting(row(connection, &backfill.remaining_sql).await);
    let (mut cursor, mut batches) = (vec![None; keys], 0);
    while cursor != upper {
        let params = [cursor.clone(), upper.clone(), vec![Some(size.to_string())]].concat();
        let next = connection.query_row(&backfill.batch_sql, &params).await.unwrap().unwrap_or_else(|| upper.clone());
        connection.query_row(&backfill.update_sql, &[cursor, next.clone()].concat()).await.unwrap();
        batches += 1;
        cursor = next;
    }
    (batches, before - waiting(row(connection, &backfill.remaining_sql).await))
}

fn renamed(old: &str, new: &str, forward: &str, backward: &str, columns: &[&str]) -> SyncSpec {
    let table = ObjectName::new("t");
    SyncSpec {
        name: DDL.sync_name(&table, new),
        table,
        old: Some(old.into()),
        new: new.into(),
        forward: forward.into(),
        backward: Some(backward.into()),
        refuses_null: false,
        key: vec!["id".into()],
        columns: columns.iter().map(ToString::to_string).collect(),
        later: Vec::new(),
        restores: Vec::new(),
        may_fail: false,
        default: None,
    }
}

#[tokio::test]
async fn synced_columns_follow_whichever_side_is_written() {
    let database = Postgres::shared().database();
    let mut c = open(&database).await;
    run(&mut c, "CREATE TABLE t (id int PRIMARY KEY, \"full name\" text, n int); INSERT INTO t VALUES (1, 'before')")
        .await;
    run(&mut c, "ALTER TABLE t ADD COLUMN display text").await;
    let sync = renamed("full name", "display", "\"full name\"", "display", &["id", "full name", "n", "display"]);
    c.run(&DDL.create_sync(&sync)).await.unwrap();

    let pair = |id: i32| format!("SELECT \"full name\", display FROM t WHERE id = {id}");
    for (write, id, expected) in [
        ("INSERT INTO t (id, \"full name\") VALUES (2, 'old code')", 2, "old code|old code"),
        ("INSERT INTO t (id, display) VALUES (3, 'new code')", 3, "new code|new code"),
        ("UPDATE t SET \"full name\" = 'a' WHERE id = 2", 2, "a|a"),
        ("UPDATE t SET display = 'b' WHERE id = 2", 2, "b|b"),
        ("UPDATE t SET display = NULL WHERE id = 2", 2, "NULL|NULL"),
        ("UPDATE t SET n = 1 WHERE id = 1", 1, "before|before"),
        (
            "INSERT INTO t (id, \"full name\") VALUES (3, 'x') ON CONFLICT (id) DO UPDATE SET \"full name\" = EXCLUDED.\"full name\"",
            3,
            "x|x",
        ),
        (
            "INSERT INTO t (id, display) VALUES (3, 'y') ON CONFLICT (id) DO UPDATE SET display = EXCLUDED.display",
            3,
            "y|y",
        ),
    ] {
        run(&mut c, write).await;
        assert_eq!(row(&mut c, &pair(id)).await, expected, "{write}");
    }
    let seen = c.introspect(&Scope::default()).await.unwrap().schema;
    let syncs = &seen.tables[&ObjectName::new("t")].syncs;
    assert_eq!(syncs.keys().collect::<Vec<_>>(), [&sync.name]);
    assert_eq!(syncs[&sync.name].fills, sync.fills());
    assert_eq!(seen.opaque, [], "what is ours is not shown as the user's");
    c.run(&DDL.drop_sync(&sync.table, &sync.name)).await.unwrap();
    assert_eq!(row(&mut c, "SELECT count(*) FROM pg_proc WHERE proname LIKE 'sync_%'").await, "0");
}

/// Without the guard the trigger takes a backfill for a write of new code, and copies the shortened value back.
#[tokio::test]
async fn a_lossy_mapping_does_not_destroy_the_old_column_in_a_backfill() {
    let database = Postgres::shared().database();
    let mut c = open(&database).await;
    run(&mut c, "CREATE TABLE t (id int PRIMARY KEY, code text, amount numeric); INSERT INTO t SELECT i, 's' || i, i + 0.456 FROM generate_series(1, 100) i").await;
    run(&mut c, "ALTER TABLE t ADD COLUMN short text, ADD COLUMN cents numeric(10,2)").await;
    let columns = ["id", "code", "amount", "short", "cents"];
    let short = renamed("code", "short", "left(code, 2)", "short", &columns);
    // The new column rounds what `forward` gives: that alone must not look like a change either.
    let cents = renamed("amount", "cents", "amount", "cents", &columns);
    c.run(&DDL.create_sync(&short)).await.unwrap();
    c.run(&DDL.create_sync(&cents)).await.unwrap();
    let key = [KeyColumn { name: "id".into(), ty: "integer".into() }];
    let set = [
        Assignment { column: "short".into(), expr: short.forward.clone(), not_null: false },
        Assignment { column: "cents".into(), expr: cents.forward.clone(), not_null: false },
    ];
    let backfill = DDL.backfill(&short.table, &key, &set, "short IS NULL");
    assert_eq!(walk(&mut c, &backfill, 7).await, (15, 100));
    assert_eq!(row(&mut c, &backfill.remaining_sql).await, "0");
    assert_eq!(
        row(&mut c, "SELECT code, short, amount, cents FROM t WHERE id = 77").await,
        "s77|s7|77.456|77.46",
        "the old columns are as they were"
    );
    run(&mut c, "UPDATE t SET cents = 1 WHERE id = 77").await;
    assert_eq!(row(&mut c, "SELECT amount FROM t WHERE id = 77").await, "1.00");
}

/// The application's role needs no right on the function, its schema, or the column that only the trigger writes.
#[tokio::test]
async fn a_role_with_few_rights_writes_through_the_trigger() {
    let server = Postgres::shared();
    let database = server.database();
    let mut c = open(&database).await;
    run(&mut c, "CREATE ROLE few_rights LOGIN; CREATE TABLE t (id int PRIMARY KEY, a text, b text)").await;
    run(&mut c, "GRANT INSERT (id, a), SELECT (id, a) ON t TO few_rights").await;
    c.run(&DDL.create_sync(&renamed("a", "b", "a", "b", &["id", "a", "b"]))).await.unwrap();
    let mut app = Connection::open(&server.url_as("few_rights", &database.name)).await.unwrap();
    run(&mut app, "INSERT INTO t (id, a) VALUES (1, 'x')").await;
    assert_eq!(row(&mut c, "SELECT b FROM t").await, "x");
}

#[tokio::test]
async fn types_without_equality_can_be_synced() {
    let database = Postgres::shared().database();
    let mut c = open(&database).await;
    run(&mut c, "CREATE TABLE t (id int PRIMARY KEY, doc json, body jsonb); INSERT INTO t VALUES (1, '{\"a\": 1}')")
        .await;
    c.run(&DDL.create_sync(&renamed("doc", "body", "doc::jsonb", "body::json", &["id", "doc", "body"]))).await.unwrap();
    run(&mut c, "UPDATE t SET id = 1").await;
    run(&mut c, "INSERT INTO t (id, body) VALUES (2, '[2]')").await;
    assert_eq!(
        row(&mut c, "SELECT string_agg(doc || ' ' || body, ';' ORDER BY id) FROM t").await,
        "{\"a\": 1} {\"a\": 1};[2] [2]"
    );
}

#[tokio::test]
async fn a_derived_column_follows_old_code_and_yields_to_new_code() {
    let database = Postgres::shared().database();
    let mut c = open(&database).await;
    run(&mut c, "CREATE TABLE t (id int PRIMARY KEY, email text, n int, email_key text, token uuid)").await;
    let mut sync = renamed("", "email_key", "lower(email)", "", &["id", "email", "n", "email_key", "token"]);
    (sync.old, sync.backward) = (None, None);
    let token = SyncSpec {
        new: "token".into(),
        forward: "gen_random_uuid()".into(),
        name: DDL.sync_name(&sync.table, "token"),
        ..sync.clone()
    };
    assert_eq!(sync.fills(), ["email_key"]);
    c.run(&DDL.create_sync(&sync)).await.unwrap();
    c.run(&DDL.create_sync(&token)).await.unwrap();

    run(
        &mut c,
        "INSERT INTO t (id, email) VALUES (1, 'A@X'); INSERT INTO t (id, email, email_key) VALUES (2, 'B@X', 'own')",
    )
    .await;
    assert_eq!(row(&mut c, "SELECT string_agg(email_key, ' ' ORDER BY id) FROM t").await, "a@x own");
    let token = row(&mut c, "SELECT token FROM t WHERE id = 1").await;
    run(&mut c, "UPDATE t SET email = 'C@X'").await;
    assert_eq!(
        row(&mut c, "SELECT string_agg(email_key, ' ' ORDER BY id) FROM t").await,
        "c@x own",
        "a value of its own is kept"
    );
    assert_eq!(row(&mut c, "SELECT token FROM t WHERE id = 1").await, token, "chance strikes once a row");
}

#[tokio::test]
async fn names_that_would_be_cut_off_into_one_stay_two_triggers() {
    let database = Postgres::shared().database();
    let mut c = open(&database).await;
    let long = "c".repeat(60);
    let (a, b) = (format!("{long}_up"), format!("{long}_do"));
    run(&mut c, &format!("CREATE TABLE t (id int PRIMARY KEY, x int, y int, {a} int, {b} int)")).await;
    let columns = ["id", "x", "y", &a, &b];
    for (old, new) in [("x", &a), ("y", &b)] {
        c.run(&DDL.create_sync(&renamed(old, new, old, new, &columns))).await.unwrap();
    }
    run(&mut c, "INSERT INTO t (id, x, y) VALUES (1, 10, 20)").await;
    assert_eq!(row(&mut c, &format!("SELECT {a}, {b} FROM t")).await, "10|20");
}

#[tokio::test]
async fn backfills_walk_along_every_kind_of_key() {
    let database = Postgres::shared().database();
    let mut c = open(&database).await;
    for (columns, keys, values) in [
        ("\"the id\" bigint, ", vec![("the id", "bigint")], "i"),
        ("k uuid, ", vec![("k", "uuid")], "md5(i::text)::uuid"),
        ("k text COLLATE \"C\", ", vec![("k", "text")], "i::text"),
        ("a int, b character varying(9), ", vec![("a", "integer"), ("b", "character varying(9)")], "i % 7, i::text"),
        ("k timestamptz, ", vec![("k", "timestamp with time zone")], "now() + i * interval '1 s'"),
    ] {
        let names: Vec<_> = keys.iter().map(|(name, _)| DDL.ident(name)).collect();
        run(&mut c, "DROP TABLE IF EXISTS t").await;
        run(&mut c, &format!("CREATE TABLE t ({columns} n int, done int, PRIMARY KEY ({}))", names.join(", "))).await;
        run(&mut c, &format!("INSERT INTO t SELECT {values}, i FROM generate_series(1, 250) i")).await;
        let key: Vec<_> = keys.iter().map(|(n, ty)| KeyColumn { name: (*n).into(), ty: (*ty).into() }).collect();
        let set = [Assignment { column: "done".into(), expr: "n * 2".into(), not_null: false }];
        let backfill = DDL.backfill(&ObjectName::new("t"), &key, &set, "done IS NULL");
        assert_eq!(row(&mut c, &backfill.remaining_sql).await, "250");
        assert_eq!(walk(&mut c, &backfill, 100).await, (3, 250), "{columns}");
        assert_eq!(row(&mut c, &backfill.remaining_sql).await, "0");
        assert_eq!(walk(&mut c, &backfill, 100).await, (3, 0), "a second walk changes nothing");
    }
}

#[tokio::test]
async fn numbering_goes_on_where_it_was_through_every_change_of_form() {
    let database = Postgres::shared().database();
    let mut c = open(&database).await;
    let column = |kind: Option<IdentityKind>| Column {
        identity: kind.map(|kind| Identity { kind, sequence: None, options: None }),
        ..Column::new("id", "bigint")
    };
    let (t, table) = (ObjectName::new("t"), |c: Column| Table { columns: vec![c], ..Table::new(ObjectName::new("t")) });
    c.run(&DDL.create_table(&table(column(None)))).await.unwrap();
    run(&mut c, "INSERT INTO t VALUES (1), (41)").await;
    let forms = [
        Some(IdentityKind::ByDefault),
        Some(IdentityKind::Always),
        Some(IdentityKind::Serial),
        Some(IdentityKind::Always),
        None,
        Some(IdentityKind::Serial),
        Some(IdentityKind::ByDefault),
    ];
    let mut before = column(None);
    let mut expected = 42;
    for form in forms {
        let after = column(form);
        let mut step = vec!["BEGIN".to_owned()];
        step.extend(DDL.alter_identity(&t, &before, &after));
        if before.identity.is_none() {
            step.extend(DDL.go_on_behind(&ObjectName::new("t_id_seq"), &t, &after));
        }
        step.push("COMMIT".to_owned());
        c.run(&step).await.unwrap();
        let seen = c.introspect(&Scope::default()).await.unwrap().schema;
        assert_eq!(seen.tables[&t].columns, std::slice::from_ref(&after), "{form:?}");
        assert_eq!(seen.opaque, [], "no sequence is left over");
        if form.is_some() {
            assert_eq!(
                row(&mut c, "INSERT INTO t DEFAULT VALUES RETURNING id").await,
                expected.to_string(),
                "{form:?}"
            );
            expected += 1;
        }
        before = after;
    }
}

/// A default takes its number with the rights of whoever inserts, and a sequence must belong to the owner of its table.
#[tokio::test]
async fn whoever_may_insert_may_take_the_numbers_of_a_new_column() {
    let server = Postgres::shared();
    let database = server.database();
    let mut admin = open(&database).await;
    run(&mut admin, "CREATE ROLE numbers_owner; CREATE ROLE numbers_app LOGIN; CREATE ROLE numbers_part LOGIN").await;
    run(&mut admin, "CREATE TABLE numbered (id bigint, name text); ALTER TABLE numbered OWNER TO numbers_owner").await;
    run(&mut admin, "GRANT INSERT, SELECT ON numbered TO numbers_app; GRANT INSERT (name) ON numbered TO numbers_part")
        .await;
    let identity = Identity { kind: IdentityKind::Serial, sequence: None, options: None };
    let column = Column { identity: Some(identity), nullable: true, ..Column::new("no", "bigint") };
    let table = ObjectName::new("numbered");
    let mut step = vec!["BEGIN".to_owned()];
    step.extend(DDL.add_column(&table, &Column { identity: None, ..column.clone() }));
    step.extend(DDL.begin_numbers(&table, &column));
    step.push("COMMIT".to_owned());
    admin.run(&step).await.unwrap();
    for role in ["numbers_app", "numbers_part"] {
        let mut app = Connection::open(&server.url_as(role, &database.name)).await.unwrap();
        run(&mut app, "INSERT INTO numbered (name) VALUES ('x')").await;
    }
    assert_eq!(row(&mut admin, "SELECT count(DISTINCT no) FROM numbered").await, "2");
    run(&mut admin, "DROP OWNED BY numbers_owner, numbers_app, numbers_part").await;
    run(&mut admin, "DROP ROLE numbers_owner, numbers_app, numbers_part").await;
}

#[tokio::test]
async fn old_code_keeps_its_rights_through_a_compatibility_view() {
    let server = Postgres::shared();
    let database = server.database();
    let mut admin = open(&database).await;
    run(&mut admin, "CREATE ROLE owner_of_it LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE \"one column\" LOGIN").await;
    run(&mut admin, "GRANT CREATE ON SCHEMA public TO owner_of_it").await;
    run(&mut admin, "CREATE TABLE clients (id int PRIMARY KEY, name text DEFAULT 'x', secret text); ALTER TABLE clients OWNER TO owner_of_it").await;
    run(&mut admin, "GRANT SELECT, INSERT ON clients TO reader; GRANT SELECT (name) ON clients TO \"one column\"")
        .await;
    let view = CompatView {
        name: ObjectName::new("clients"),
        table: ObjectName::new("customers"),
        columns: [("id", "id"), ("name", "full name"), ("secret", "secret")].map(|(a, b)| (a.into(), b.into())).into(),
    };
    run(&mut admin, "BEGIN").await;
    admin.run(&DDL.rename_table(&view.name, &view.table)).await.unwrap();
    admin.run(&DDL.rename_column(&view.table, "name", "full name")).await.unwrap();
    let version = admin.server().version;
    admin.run(&Renderer::new(version).create_compat_view(&view, &Table::new(view.table.clone()))).await.unwrap();
    run(&mut admin, "COMMIT").await;

    let as_user = |user: &str| server.url_as(user, &database.name);
    let mut owner = Connection::open(&as_user("owner_of_it")).await.unwrap();
    run(&mut owner, "INSERT INTO clients (id) VALUES (1); UPDATE clients SET secret = 's' WHERE id = 1").await;
    let mut reader = Connection::open(&as_user("reader")).await.unwrap();
    run(&mut reader, "INSERT INTO clients (id, name) VALUES (2, 'y') ON CONFLICT (id) DO NOTHING").await;
    assert_eq!(row(&mut reader, "SELECT string_agg(name, ' ' ORDER BY id) FROM clients").await, "x y");
    assert!(reader.run(&["DELETE FROM clients".into()]).await.is_err(), "no more rights than before");
    let mut one = Connection::open(&as_user("one%20column")).await.unwrap();
    assert_eq!(row(&mut one, "SELECT max(name) FROM clients").await, "y");
    assert!(one.run(&["SELECT secret FROM clients".into()]).await.is_err());

    let seen = admin.introspect(&Scope::default()).await.unwrap().schema;
    assert_eq!(seen.compat_views.values().collect::<Vec<_>>(), [&view]);
    assert_eq!(seen.opaque, []);
    admin.run(&DDL.drop_compat_view(&view)).await.unwrap();
}

/// What is called catalogue-only must not rewrite the table on this server, whatever the list says.
#[tokio::test]
async fn type_changes_that_are_called_cheap_are_cheap() {
    let database = Postgres::shared().database();
    let mut c = open(&database).await;
    let types = [
        "character varying(5)",
        "character varying(9)",
        "character varying",
        "text",
        "numeric(5,2)",
        "numeric(8,2)",
        "numeric(8,3)",
        "numeric",
        "timestamp(3) without time zone",
        "timestamp without time zone",
        "timestamp(3) with time zone",
        "timestamp with time zone",
        "time(2) without time zone",
        "time without time zone",
        "interval(2)",
        "interval",
        "cidr",
        "inet",
        "bit varying(3)",
        "bit varying(5)",
        "bit varying",
        "bit(3)",
        "xml",
        "integer",
        "bigint",
        "character(3)",
        "json",
        "jsonb",
        "date",
        "character varying(5)[]",
        "text[]",
    ];
    let mut cheap = 0;
    for from in types {
        for to in types.into_iter().filter(|to| *to != from && DDL.type_change(from, to) == TypeChange::Metadata) {
            run(&mut c, &format!("DROP TABLE IF EXISTS t; CREATE TABLE t (c {from}); CREATE INDEX i ON t ((c IS NULL)); INSERT INTO t VALUES (NULL)")).await;
            let before = row(&mut c, "SELECT pg_relation_filenode('t')").await;
            let part = DDL.alter_type(from, &Column::new("c", to), None);
            c.run(&[DDL.alter_table(&ObjectName::new("t"), &[part])]).await.unwrap();
            assert_eq!(row(&mut c, "SELECT pg_relation_filenode('t')").await, before, "{from} -> {to}");
            cheap += 1;
        }
    }
    assert!(cheap >= 20, "{cheap}");
}

/// What is called stable must be stored once and not per row.
#[tokio::test]
async fn defaults_that_are_called_stable_rewrite_nothing() {
    let database = Postgres::shared().database();
    let mut c = open(&database).await;
    for (expr, ty) in [
        ("now()", "timestamptz"),
        ("'{}'::jsonb", "jsonb"),
        ("lower('A')", "text"),
        ("CURRENT_DATE + 1", "date"),
        ("clock_timestamp()", "timestamptz"),
        ("gen_random_uuid()", "uuid"),
        ("random()", "float8"),
    ] {
        run(&mut c, "DROP TABLE IF EXISTS t; CREATE TABLE t (i int); INSERT INTO t VALUES (1)").await;
        let before = row(&mut c, "SELECT pg_relation_filenode('t')").await;
        let column = Column { default: Some(expr.into()), ..Column::new("c", ty) };
        c.run(&DDL.add_column(&ObjectName::new("t"), &column)).await.unwrap();
        let kept = row(&mut c, "SELECT pg_relation_filenode('t')").await == before;
        assert_eq!(kept, DDL.volatility(expr) == Volatility::Stable, "{expr}");
    }
}

#[tokio::test]
async fn an_index_is_known_to_be_valid_or_gone() {
    let database = Postgres::shared().database();
    let mut c = open(&database).await;
    let t = ObjectName::new("we\"ird");
    run(&mut c, "CREATE TABLE \"we\"\"ird\" (a int); INSERT INTO \"we\"\"ird\" VALUES (1), (1)").await;
    let index = schemadiff::model::Index {
        parts: vec![schemadiff::model::IndexPart { column: Some("a".into()), ..Default::default() }],
        unique: true,
        ..Default::default()
    };
    assert_eq!(row(&mut c, &DDL.index_is_gone(&t, "the index")).await, "true");
    assert!(c.run(&DDL.create_index(&t, "the index", &index, true)).await.is_err(), "there are duplicates");
    assert_eq!(row(&mut c, &DDL.index_is_valid(&t, "the index", &index)).await, "false");
    assert_eq!(row(&mut c, &DDL.index_is_gone(&t, "the index")).await, "false");
    let seen = c.introspect(&Scope::default()).await.unwrap().schema;
    assert!(seen.tables[&t].indexes["the index"].invalid);
    c.run(&DDL.drop_index(&t, "the index", true)).await.unwrap();
    run(&mut c, "TRUNCATE \"we\"\"ird\"").await;
    c.run(&DDL.create_index(&t, "the index", &index, true)).await.unwrap();
    assert_eq!(row(&mut c, &DDL.index_is_valid(&t, "the index", &index)).await, "true");

    // However an index is spelled, what is read of it is known to be it.
    run(
        &mut c,
        "CREATE TYPE mood AS ENUM ('sad', 'A b'); CREATE EXTENSION IF NOT EXISTS pg_trgm;
        CREATE TABLE spelled (a varchar(9), b timestamptz, \"C d\" mood, e jsonb, f text);
        CREATE INDEX i1 ON spelled (a) WHERE a IN ('x', 'y''z', '(');
        CREATE INDEX i2 ON spelled ((b AT TIME ZONE 'UTC') DESC, \"C d\" NULLS FIRST) WITH (fillfactor = 70);
        CREATE UNIQUE INDEX i3 ON spelled (lower(a), (CASE WHEN f LIKE 'q\\%' THEN 1 END)) INCLUDE (\"C d\")
            WHERE \"C d\" = 'A b' AND b > '2020-01-01' AND NOT (a IS NULL OR f ~ E'\\n');
        CREATE INDEX i4 ON spelled USING gin (e jsonb_path_ops, f gin_trgm_ops);
        CREATE INDEX i5 ON spelled (a COLLATE \"C\" text_pattern_ops, (e ->> 'k'), coalesce(f, a, ''))",
    )
    .await;
    let seen = c.introspect(&Scope::default()).await.unwrap().schema;
    let t = ObjectName::new("spelled");
    assert_eq!(seen.tables[&t].indexes.len(), 5);
    for (name, index) in &seen.tables[&t].indexes {
        assert_eq!(row(&mut c, &DDL.index_is_valid(&t, name, index)).await, "true", "{name} {index:?}");
        let taken = DDL.index_name_taken(&t, name, index).unwrap();
        assert_eq!(row(&mut c, &format!("SELECT count(*) FROM ({taken}) q")).await, "0", "{name}");
        let other = seen.tables[&t].indexes.iter().find(|(other, _)| *other != name).unwrap().1;
        assert_eq!(row(&mut c, &DDL.index_is_valid(&t, name, other)).await, "false", "{name} {other:?}");
    }
}

/// What a partitioned table gets is not taken for another table's, and another table's is not dropped for it.
#[tokio::test]
async fn an_index_of_that_name_elsewhere_is_no_part_of_a_partitioned_table() {
    let database = Postgres::shared().database();
    let mut c = open(&database).await;
    let t = ObjectName::new("t");
    run(
        &mut c,
        "CREATE TABLE t (a int NOT NULL) PARTITION BY RANGE (a);
        CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (9);
        CREATE TABLE other (a int); CREATE UNIQUE INDEX i ON other (a)",
    )
    .await;
    let unique = Unique {
        columns: vec!["a".into()],
        include: Vec::new(),
        nulls_not_distinct: false,
        deferrable: Deferrable::No,
        comment: None,
    };
    let index = schemadiff::model::Index { unique: true, ..schemadiff::model::Index::over(&unique.columns) };
    for what in [PerPartition::Index("i", &index), PerPartition::Unique("i", &unique)] {
        let each = DDL.each_partition(&t, &what).unwrap();
        assert_eq!(row(&mut c, &each.done_when).await, "false", "{what:?}");
        let taken = row(&mut c, &each.stopped_by.unwrap()).await;
        assert_eq!(taken, "i, CREATE UNIQUE INDEX i ON public.other USING btree (a)", "{what:?}");
        c.run(&each.undo).await.unwrap();
        assert_eq!(row(&mut c, "SELECT to_regclass('i')::text").await, "i", "{what:?}");
    }
    run(&mut c, "DROP TABLE other; CREATE UNIQUE INDEX i ON t (a)").await;
    let [as_index, as_key] = [PerPartition::Index("i", &index), PerPartition::Unique("i", &unique)]
        .map(|what| DDL.each_partition(&t, &what).unwrap().done_when);
    assert_eq!(row(&mut c, &as_index).await, "true");
    assert_eq!(row(&mut c, &as_key).await, "false", "an index alone is no constraint");

    // The same of a foreign key: a constraint of that name may be another one.
    run(&mut c, "CREATE TABLE p (a int PRIMARY KEY, b int UNIQUE); ALTER TABLE t ADD CONSTRAINT k FOREIGN KEY (a) REFERENCES p (b)").await;
    let key = |column: &str| ForeignKey {
        columns: vec!["a".into()],
        ref_table: ObjectName::new("p"),
        ref_columns: vec![column.into()],
        on_delete: FkAction::default(),
        on_delete_columns: Vec::new(),
        on_update: FkAction::default(),
        match_full: false,
        deferrable: Deferrable::No,
        not_valid: false,
        comment: None,
    };
    for (column, done) in [("a", "false"), ("b", "true")] {
        let key = key(column);
        let each = DDL.each_partition(&t, &PerPartition::ForeignKey("k", &key)).unwrap();
        assert_eq!(row(&mut c, &each.done_when).await, done, "{column}");
        let taken = format!("SELECT (count(*) = 0)::text FROM ({}) q", each.stopped_by.unwrap());
        assert_eq!(row(&mut c, &taken).await, done, "{column}");
    }
}

/// The names that are planned for are the names the server gives.
#[tokio::test]
async fn default_names_are_what_the_server_chooses() {
    let database = Postgres::shared().database();
    let mut c = open(&database).await;
    for (table, a, b) in [
        ("users".to_owned(), "org_id".to_owned(), "name".to_owned()),
        ("t".repeat(63), "a".repeat(40), "b".repeat(40)),
        ("t".repeat(20), "a".repeat(63), "b".to_owned()),
        ("ü".repeat(30), "ö".repeat(20), "ä".repeat(31)),
    ] {
        run(&mut c, &format!("CREATE TABLE \"{table}\" (\"{a}\" serial UNIQUE CHECK (\"{a}\" > 0), \"{b}\" int, PRIMARY KEY (\"{a}\", \"{b}\"), UNIQUE (\"{b}\", \"{a}\"), FOREIGN KEY (\"{a}\", \"{b}\") REFERENCES \"{table}\" (\"{a}\", \"{b}\"))")).await;
        run(&mut c, &format!("CREATE INDEX ON \"{table}\" (\"{a}\", \"{b}\")")).await;
        let seen = c.introspect(&Scope::default()).await.unwrap().schema;
        let found = &seen.tables[&ObjectName::new(table.as_str())];
        let name = |columns: &[&str], suffix: &str| DDL.default_name(&table, columns, suffix);
        assert_eq!(found.primary_key.as_ref().unwrap().name, Some(name(&[&a, &b], "pkey")));
        assert!(found.uniques.contains_key(&name(&[&a], "key")), "{found:?}");
        assert!(found.uniques.contains_key(&name(&[&b, &a], "key")), "{found:?}");
        assert!(found.checks.contains_key(&name(&[&a], "check")), "{found:?}");
        assert!(found.foreign_keys.contains_key(&name(&[&a, &b], "fkey")), "{found:?}");
        assert!(found.indexes.contains_key(&name(&[&a, &b], "idx")), "{found:?}");
        assert_eq!(found.column(&a).unwrap().identity.as_ref().unwrap().sequence, None, "{found:?}");
    }
}
