//! The SQLite dialect against real SQLite files: what is created is what is read back.

use std::collections::BTreeMap;

use cargo_schemadiff::{
    Error, Kind,
    dialect::{Connection, Ddl, Scope, adopt_spelling, ddl, normalize_statically},
};
use schemadiff::model::{
    Check, Column, Deferrable, Dialect, Fingerprint, FkAction, ForeignKey, Generated, Identity, IdentityKind, Index,
    IndexPart, ObjectName, PrimaryKey, Schema, SortOrder, Table, Unique,
};

mod random;

fn sqlite() -> Box<dyn Ddl> {
    ddl(Dialect::Sqlite, 3_051_003).unwrap()
}

/// A database file of its own.
struct Base {
    connection: Connection,
    directory: tempfile::TempDir,
}

impl Base {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}?mode=rwc", directory.path().join("test.db").display());
        let mut connection = Connection::open(&url).await.unwrap();
        connection.run(&["PRAGMA journal_mode=WAL".into()]).await.unwrap();
        Self { connection, directory }
    }

    async fn run(&mut self, statements: &[&str]) {
        let statements: Vec<_> = statements.iter().map(|s| (*s).to_owned()).collect();
        self.connection.run(&statements).await.unwrap();
    }

    async fn read(&mut self) -> Schema {
        self.connection.introspect(&Scope::default()).await.unwrap().schema
    }

    async fn create(&mut self, schema: &Schema) {
        for table in schema.tables.values() {
            self.connection.run(&sqlite().create_table(table)).await.unwrap();
        }
    }
}

fn schema(tables: impl IntoIterator<Item = Table>) -> Schema {
    Schema { tables: tables.into_iter().map(|t| (t.name.clone(), t.into())).collect(), ..Schema::default() }
}

fn column(name: &str, ty: &str) -> Column {
    Column::new(name, ty)
}

fn nullable(name: &str, ty: &str) -> Column {
    Column { nullable: true, ..Column::new(name, ty) }
}

fn check(expr: &str) -> Check {
    Check { expr: expr.into(), not_valid: false, no_inherit: false, comment: None }
}

fn references(columns: &[&str], table: &str, ref_columns: &[&str]) -> ForeignKey {
    ForeignKey {
        columns: columns.iter().map(|c| (*c).into()).collect(),
        ref_table: ObjectName::new(table),
        ref_columns: ref_columns.iter().map(|c| (*c).into()).collect(),
        on_delete: FkAction::NoAction,
        on_delete_columns: Vec::new(),
        on_update: FkAction::NoAction,
        match_full: false,
        deferrable: Deferrable::No,
        not_valid: false,
        comment: None,
    }
}

fn part(column: &str) -> IndexPart {
    IndexPart { column: Some(column.into()), ..IndexPart::default() }
}

fn expression(expr: &str) -> IndexPart {
    IndexPart { expr: Some(expr.into()), ..IndexPart::default() }
}

fn index(parts: Vec<IndexPart>) -> Index {
    Index { parts, ..Index::default() }
}

fn key(columns: &[&str]) -> Option<PrimaryKey> {
    Some(PrimaryKey::over(None, columns.iter().map(|c| (*c).into()).collect()))
}

fn numbered(name: &str, kind: IdentityKind) -> Column {
    Column { identity: Some(Identity { kind, sequence: None, options: None }), ..Column::new(name, "INTEGER") }
}

/// Everything a table of SQLite can have, and names that need care.
fn broad() -> Schema {
    let mut users = Table::new(ObjectName::new("users"));
    users.columns = vec![
        numbered("id", IdentityKind::Autoincrement),
        Column { collation: Some("NOCASE".into()), ..column("email", "TEXT") },
        Column { default: Some("'it''s (new)'".into()), ..column("state", "VARCHAR(20)") },
        Column { default: Some("CURRENT_TIMESTAMP".into()), ..column("created_at", "TEXT") },
        Column { default: Some("-1.5".into()), ..column("score", "REAL") },
        Column { default: Some("lower(hex(randomblob(16)))".into()), ..column("token", "TEXT") },
        Column { default: Some("x'00FF'".into()), ..nullable("bits", "BLOB") },
        nullable("untyped", ""),
        nullable("parent_id", "INTEGER"),
        Column {
            generated: Some(Generated { expr: "lower(email)".into(), stored: true }),
            ..nullable("email_key", "TEXT")
        },
        Column { generated: Some(Generated { expr: "score * 2".into(), stored: false }), ..nullable("twice", "REAL") },
    ];
    users.primary_key = key(&["id"]);
    users.checks.insert("users_score_check".into(), check("score >= -1.5 AND score IS NOT NULL"));
    users.checks.insert("state is known".into(), check("state IN ('it''s (new)', 'b, c')"));
    let mut parent = references(&["parent_id"], "users", &["id"]);
    (parent.on_delete, parent.deferrable) = (FkAction::SetNull, Deferrable::Deferred);
    users.foreign_keys.insert("users_parent_id_fkey".into(), parent);
    users.indexes.insert("users_email_key".into(), Index { unique: true, ..index(vec![part("email")]) });
    users.indexes.insert(
        "users_recent".into(),
        Index {
            predicate: Some("state <> 'gone'".into()),
            ..index(vec![IndexPart { order: SortOrder::Desc, ..part("created_at") }, part("id")])
        },
    );
    users.indexes.insert(
        "users lower".into(),
        index(vec![
            IndexPart { collation: Some("NOCASE".into()), ..expression("substr(state, 1, 3)") },
            IndexPart { collation: Some("BINARY".into()), ..part("email") },
        ]),
    );

    let mut odd = Table::new(ObjectName::new("we\"ird 'table', (x)"));
    odd.columns =
        vec![column("a\"b", "INT"), column("select", "TEXT"), column("größe", "ANY"), column("c;--d", "INTEGER")];
    odd.primary_key = key(&["select", "a\"b"]);
    odd.options.strict = true;
    odd.options.without_rowid = true;
    odd.checks.insert("x\"y".into(), check("\"a\"\"b\" > 0 AND \"select\" <> '--'"));
    let mut to_users = references(&["c;--d"], "users", &["id"]);
    (to_users.on_delete, to_users.on_update) = (FkAction::Cascade, FkAction::Restrict);
    odd.foreign_keys.insert("odd fk".into(), to_users);
    odd.indexes.insert("i\"x".into(), index(vec![part("größe"), part("c;--d")]));
    odd.indexes.insert(
        "odd_unique".into(),
        Index { unique: true, constraint: true, ..index(vec![part("c;--d"), part("select")]) },
    );

    let mut child = Table::new(ObjectName::new("child"));
    child.columns = vec![column("s", "TEXT"), column("n", "INT"), nullable("note", "TEXT")];
    child
        .foreign_keys
        .insert("child_s_n_fkey".into(), references(&["s", "n"], "we\"ird 'table', (x)", &["select", "a\"b"]));

    let mut tag = Table::new(ObjectName::new("tag"));
    tag.columns = vec![nullable("label", "TEXT"), column("weight", "DECIMAL(10,2)")];
    tag.primary_key = key(&["label"]);
    schema([users, odd, child, tag])
}

#[tokio::test]
async fn what_is_created_is_read_back() {
    let mut base = Base::new().await;
    let wanted = broad();
    base.create(&wanted).await;
    let read = base.read().await;
    assert_eq!(read.opaque, []);
    for (name, table) in &wanted.tables {
        assert_eq!(read.tables.get(name), Some(table));
    }
    assert_eq!(Fingerprint::of(&read), Fingerprint::of(&wanted));
}

#[tokio::test]
async fn normalizing_what_is_there_changes_nothing() {
    let mut base = Base::new().await;
    let wanted = broad();
    base.create(&wanted).await;
    let mut desired = wanted.clone();
    normalize_statically(Dialect::Sqlite, &mut desired);
    assert_eq!(desired, wanted);
    base.connection.normalize(&mut desired, &Schema::default()).await.unwrap();
    assert_eq!(desired, wanted);
}

#[tokio::test]
async fn foreign_sql_is_read_in_its_meaning() {
    let mut base = Base::new().await;
    base.run(&[
        "create table Parent(Id integer primary key /* the id */, \"code\" text unique collate nocase, n int default (1))",
        "CREATE TABLE [t 1] (\n a int not null constraint pos check(((a)>0)), -- comment, with comma\n b varchar ( 20 ) \
         default \"draft\" references parent, `c` datetime default current_timestamp not null, d unsigned big int null, \
         e as (a+1), f generated always as (a || 'x') stored, PRIMARY KEY(B,a) CHECK (a<>1) \
         CONSTRAINT u UNIQUE(c, d collate nocase) FOREIGN KEY (d) REFERENCES PARENT(ID) ON UPDATE CASCADE \
         ON DELETE SET NULL NOT DEFERRABLE INITIALLY IMMEDIATE) without rowid",
        "create unique index if not exists ix on [t 1] (lower(b) desc, [c] collate rtrim, \"a\") where (b is not null)",
        "ALTER TABLE Parent ADD COLUMN late TEXT NOT NULL DEFAULT 'x'",
    ])
    .await;
    let read = base.read().await;
    assert_eq!(read.opaque, []);
    let parent = &read.tables[&ObjectName::new("Parent")];
    assert_eq!(parent.columns[0], numbered("Id", IdentityKind::ByDefault));
    assert_eq!(parent.columns[2].default.as_deref(), Some("1"));
    assert_eq!(parent.columns[3].name, "late");
    let key_index = Index { unique: true, constraint: true, ..index(vec![part("code")]) };
    assert_eq!(parent.indexes, BTreeMap::from([("Parent_code_key".into(), key_index)]));

    let t = &read.tables[&ObjectName::new("t 1")];
    assert_eq!(t.columns[1].ty, "VARCHAR(20)");
    assert_eq!(t.columns[1].default.as_deref(), Some("'draft'"));
    assert!(!t.columns[1].nullable, "a key of a WITHOUT ROWID table is never NULL");
    assert_eq!(t.columns[3].ty, "UNSIGNED BIG INT");
    assert_eq!(t.columns[4].generated, Some(Generated { expr: "a + 1".into(), stored: false }));
    assert_eq!(t.columns[5].generated, Some(Generated { expr: "a || 'x'".into(), stored: true }));
    assert_eq!(t.primary_key, key(&["b", "a"]));
    assert_eq!(t.checks.keys().collect::<Vec<_>>(), ["pos", "t 1_a_check"]);
    assert_eq!(t.checks["pos"].expr, "a > 0");
    assert_eq!(t.foreign_keys["t 1_b_fkey"], references(&["b"], "Parent", &["Id"]));
    let mut d = references(&["d"], "Parent", &["Id"]);
    (d.on_delete, d.on_update) = (FkAction::SetNull, FkAction::Cascade);
    assert_eq!(t.foreign_keys["t 1_d_fkey"], d);
    let unique = vec![part("c"), IndexPart { collation: Some("NOCASE".into()), ..part("d") }];
    assert_eq!(t.indexes["u"], Index { unique: true, constraint: true, ..index(unique) });
    let ix = vec![
        IndexPart { order: SortOrder::Desc, ..expression("lower(b)") },
        IndexPart { collation: Some("RTRIM".into()), ..part("c") },
        part("a"),
    ];
    assert_eq!(t.indexes["ix"], Index { unique: true, predicate: Some("b IS NOT NULL".into()), ..index(ix) });

    // Created again from the model it is the same.
    let mut again = Base::new().await;
    again.create(&read).await;
    assert_eq!(again.read().await, read);
}

#[tokio::test]
async fn what_the_model_cannot_hold_is_listed() {
    let mut base = Base::new().await;
    base.run(&[
        "CREATE TABLE ok (id INTEGER PRIMARY KEY, a TEXT)",
        "CREATE TABLE conflict (a TEXT UNIQUE ON CONFLICT REPLACE)",
        "CREATE TABLE descending (id INTEGER PRIMARY KEY DESC)",
        "CREATE TABLE collated (a TEXT, PRIMARY KEY (a COLLATE NOCASE))",
        "CREATE TABLE quoted_type (a \"odd type\")",
        "CREATE TABLE dangling (a INTEGER REFERENCES nowhere)",
        "CREATE VIRTUAL TABLE notes USING fts5(body)",
        "CREATE VIEW v AS SELECT a FROM ok",
        "CREATE TRIGGER watch AFTER INSERT ON OK BEGIN SELECT 1; END",
        "CREATE TABLE _schemadiff_migration (id TEXT)",
        "CREATE INDEX i ON _schemadiff_migration (id)",
    ])
    .await;
    let read = base.read().await;
    assert_eq!(read.tables.keys().map(ToString::to_string).collect::<Vec<_>>(), ["ok"]);
    let listed: Vec<_> = read.opaque.iter().map(|o| format!("{} {}: {}", o.kind, o.name, o.reason)).collect();
    for expected in [
        "table conflict: ON CONFLICT clauses are not supported",
        "table descending: a descending primary key is not supported",
        "table collated: a primary key with its own collation or order is not supported",
        "table quoted_type: a type name in quotes is not supported",
        "table dangling: it references `nowhere`, which does not exist, without naming columns",
        "virtual table notes: virtual tables are not compared",
        "table notes_data: it belongs to a virtual table",
        "view v: views are not compared",
        "trigger ok.watch: triggers are kept but not compared",
    ] {
        assert!(listed.iter().any(|l| l == expected), "{expected} in {listed:#?}");
    }
    let trigger = read.opaque.iter().find(|o| o.kind == "trigger").unwrap();
    assert_eq!(trigger.table, Some(ObjectName::new("ok")));
    assert_eq!(trigger.definition.as_deref(), Some("CREATE TRIGGER watch AFTER INSERT ON OK BEGIN SELECT 1; END"));
}

#[test]
fn declared_forms_get_sqlites_shape() {
    let mut table = Table::new(ObjectName::new("t"));
    table.comment = Some("gone".into());
    table.columns = vec![
        Column {
            identity: Some(Identity { kind: IdentityKind::Always, sequence: None, options: None }),
            ..column("id", "bigint")
        },
        Column { default: Some("(NULL)".into()), ..nullable("a", "varchar (5)") },
        Column { collation: Some("binary".into()), ..column("b", "text") },
    ];
    table.primary_key = Some(PrimaryKey::over(Some("t_pkey".into()), vec!["id".into()]));
    table.checks.insert("c".into(), check("((LENGTH(\"a\")) > 2)"));
    let unique = |nulls_not_distinct| Unique {
        columns: vec!["a".into()],
        include: vec![],
        nulls_not_distinct,
        deferrable: Deferrable::No,
        comment: None,
    };
    table.uniques.insert("t_a_key".into(), unique(false));
    table.indexes.insert(
        "t_b_idx".into(),
        Index { method: Some("btree".into()), include: vec!["a".into()], ..index(vec![expression("(\"b\")")]) },
    );
    let mut desired = schema([table]);
    normalize_statically(Dialect::Sqlite, &mut desired);
    let table = desired.tables.values().next().unwrap();
    assert_eq!(
        table.columns,
        [numbered("id", IdentityKind::ByDefault), nullable("a", "VARCHAR(5)"), column("b", "TEXT")]
    );
    assert_eq!(table.primary_key, key(&["id"]));
    assert_eq!(table.checks["c"].expr, "length(a) > 2");
    assert_eq!(table.indexes["t_a_key"], Index { unique: true, ..index(vec![part("a")]) });
    assert_eq!(table.indexes["t_b_idx"], index(vec![part("b")]));
    assert!(table.uniques.is_empty() && table.comment.is_none());
}

#[test]
fn names_that_mean_nothing_are_taken_over() {
    let table = |columns: Vec<Column>, indexes: &[(&str, Index)]| {
        let mut table = Table::new(ObjectName::new("t"));
        table.columns = columns;
        table.indexes = indexes.iter().map(|(n, i)| ((*n).to_owned(), i.clone())).collect();
        table
    };
    let unique = Index { unique: true, ..index(vec![part("a")]) };
    let owned = Index { constraint: true, ..unique.clone() };
    let current = schema([table(vec![column("a", "INT")], &[("old_name", owned), ("b", index(vec![part("a")]))])]);
    let mut desired =
        schema([table(vec![column("a", "BIGINT")], &[("t_a_key", unique), ("t_a_idx", index(vec![part("a")]))])]);
    adopt_spelling(Dialect::Sqlite, &mut desired, &current);
    assert_eq!(desired, current);

    // A name that another index of the struct goes by is not given away.
    let current = schema([table(vec![column("a", "INT")], &[("x", index(vec![part("a")]))])]);
    let descending = index(vec![IndexPart { order: SortOrder::Desc, ..part("a") }]);
    let declared = schema([table(vec![column("a", "INT")], &[("x", descending), ("y", index(vec![part("a")]))])]);
    let mut desired = declared.clone();
    adopt_spelling(Dialect::Sqlite, &mut desired, &current);
    assert_eq!(desired, declared);
}

async fn normalize_error(table: Table) -> Error {
    let mut base = Base::new().await;
    let mut desired = schema([table]);
    normalize_statically(Dialect::Sqlite, &mut desired);
    base.connection.normalize(&mut desired, &Schema::default()).await.unwrap_err()
}

#[tokio::test]
async fn what_sqlite_refuses_is_said_before_a_plan() {
    let mut bad = Table::new(ObjectName::new("bad"));
    bad.columns = vec![column("a", "TEXT")];
    bad.checks.insert("bad_check".into(), check("no_such_function(a) > nowhere"));
    let error = normalize_error(bad.clone()).await;
    assert_eq!((error.kind, error.code), (Kind::Project, "SD0340"));
    assert!(error.to_string().contains("`bad`") && error.to_string().contains("no such column: nowhere"), "{error}");

    bad.checks.clear();
    bad.foreign_keys.insert("bad_a_fkey".into(), references(&["a"], "bad", &["a"]));
    assert_eq!(normalize_error(bad.clone()).await.code, "SD0341");

    bad.foreign_keys.clear();
    bad.columns[0].identity = Some(Identity { kind: IdentityKind::ByDefault, sequence: None, options: None });
    assert_eq!(normalize_error(bad).await.code, "SD0342");
}

#[tokio::test]
async fn no_connection_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let error = async |name: &str| {
        let opened = Connection::open(&format!("sqlite:{}", path(name).display())).await;
        let error = opened.err().unwrap();
        assert_eq!(error.kind, Kind::Database);
        (error.code, error.to_string())
    };
    assert_eq!(error("missing.db").await.0, "SD0540");
    assert!(!path("missing.db").exists());
    assert_eq!(error(".").await.0, "SD0541");
    std::fs::write(path("text.db"), "this is no database, it is only a text that is long enough to be read").unwrap();
    let (code, text) = error("text.db").await;
    assert_eq!(code, "SD0546");
    assert!(text.contains("text.db"), "{text}");

    std::fs::write(path("empty.db"), "").unwrap();
    let mut empty = Connection::open(&format!("sqlite://{}", path("empty.db").display())).await.unwrap();
    assert!(empty.introspect(&Scope::default()).await.unwrap().schema.tables.is_empty());
    let error = empty.run(&["SELECT broken syntax here".into()]).await.unwrap_err();
    assert_eq!(error.code, "SD0547");
    assert!(error.to_string().contains("SELECT broken syntax here"), "{error}");

    let mut reader = Connection::open(&format!("sqlite:{}?mode=ro", path("empty.db").display())).await.unwrap();
    assert_eq!(reader.run(&["CREATE TABLE t (a)".into()]).await.unwrap_err().code, "SD0545");

    let mut locker = Connection::open(&format!("sqlite:{}", path("empty.db").display())).await.unwrap();
    locker.run(&["CREATE TABLE t (a)".into(), "BEGIN EXCLUSIVE".into()]).await.unwrap();
    empty.run(&["PRAGMA busy_timeout=10".into()]).await.unwrap();
    let error = empty.run(&["CREATE TABLE u (a)".into()]).await.unwrap_err();
    assert_eq!(error.code, "SD0544", "{error}");
}

#[tokio::test]
async fn a_scratch_database_is_reached_by_its_address_and_removed() {
    let mut base = Base::new().await;
    let mut scratch = base.connection.scratch().await.unwrap();
    scratch.connection.run(&["CREATE TABLE t (a)".into()]).await.unwrap();
    let mut other = Connection::open(&scratch.url).await.unwrap();
    assert_eq!(other.introspect(&Scope::default()).await.unwrap().schema.tables.len(), 1);
    drop(other);
    // Not a file, so that a killed process leaves none; and another one's is another one.
    let path = scratch.connection.query_row("SELECT file FROM pragma_database_list", &[]).await.unwrap().unwrap();
    assert!(path[0].as_deref().is_none_or(|path| !std::path::Path::new(path).exists()), "{path:?}");
    let second = base.connection.scratch().await.unwrap();
    assert_ne!(second.url, scratch.url);
    second.remove().await.unwrap();
    let url = scratch.url.clone();
    scratch.remove().await.unwrap();
    // A connection closes a moment after it is dropped, and its database with the last one.
    for attempt in 0.. {
        let mut gone = Connection::open(&url).await.unwrap();
        if gone.introspect(&Scope::default()).await.unwrap().schema.tables.is_empty() {
            break;
        }
        drop(gone);
        assert!(attempt < 500, "the scratch database outlives its connections");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    drop(base.directory);
}

#[tokio::test]
async fn sizes_are_estimated() {
    let mut base = Base::new().await;
    base.run(&[
        "CREATE TABLE big (id INTEGER PRIMARY KEY, pad TEXT)",
        "CREATE TABLE keyed (k TEXT PRIMARY KEY) WITHOUT ROWID",
        "CREATE TABLE sparse (id INTEGER PRIMARY KEY)",
        "INSERT INTO big WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) \
         SELECT i, hex(zeroblob(200)) FROM n",
        "INSERT INTO keyed VALUES ('a'), ('b')",
        "INSERT INTO sparse VALUES (1), (9000000000000000000)",
    ])
    .await;
    let sizes = base.connection.introspect(&Scope::default()).await.unwrap().sizes;
    let size = |name: &str| sizes[&ObjectName::new(name)];
    assert_eq!(size("big").rows, 2000);
    assert!(size("big").bytes > 800_000, "{:?}", size("big"));
    assert_eq!(size("keyed").rows, 2);
    assert!(size("sparse").rows < 1_000_000, "{:?}", size("sparse"));
}

/// The statements a reviewer sees.
#[test]
fn statements_are_as_reviewed() {
    use cargo_schemadiff::dialect::{Dependents, SyncSpec};
    use schemadiff::plan::{Assignment, KeyColumn};
    let before = &broad().tables[&ObjectName::new("users")];
    let mut after = before.clone();
    after.column_mut("email").unwrap().nullable = true;
    after.columns.retain(|c| c.name != "untyped");
    let name = sqlite().sync_name(&before.name, "login");
    after.columns.push(nullable("login", "TEXT"));
    let sync = SyncSpec {
        table: before.name.clone(),
        name: name.clone(),
        old: Some("email".into()),
        new: "login".into(),
        forward: "lower(email)".into(),
        backward: Some("login".into()),
        refuses_null: false,
        key: vec!["id".into()],
        columns: after.columns.iter().map(|c| c.name.clone()).collect(),
        later: Vec::new(),
        restores: Vec::new(),
        may_fail: false,
        default: None,
    };
    after.syncs.insert(name.clone(), schemadiff::model::Sync { fills: sync.fills(), ..Default::default() });
    let dependents = Dependents { syncs: vec![sync] };
    let copy = [("state".to_owned(), "lower(state)".to_owned())];
    let key = [KeyColumn { name: "id".into(), ty: "INTEGER".into() }];
    let set = [Assignment { column: "login".into(), expr: "lower(email)".into(), not_null: false }];
    let backfill = sqlite().backfill(&before.name, &key, &set, "login IS NULL");
    let blob = [KeyColumn { name: "a".into(), ty: "TEXT".into() }, KeyColumn { name: "b".into(), ty: "BLOB".into() }];
    let by_pair = sqlite().backfill(&before.name, &blob, &set, "login IS NULL");
    let text = [
        ("create", sqlite().create_table(before)),
        ("rebuild", sqlite().rebuild(before, &after, &copy, &dependents)),
        ("drop sync", sqlite().drop_sync(&before.name, &name)),
        ("backfill", vec![backfill.upper_sql, backfill.batch_sql]),
        ("backfill update", vec![backfill.update_sql, backfill.remaining_sql, backfill.left_sql]),
        ("backfill by a pair", vec![by_pair.batch_sql, by_pair.update_sql]),
    ]
    .map(|(title, statements)| format!("-- {title}\n{};\n", statements.join(";\n")))
    .join("\n");
    insta::assert_snapshot!(text);
}
