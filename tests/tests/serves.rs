//! The predicate, case by case: which state serves which code, and in which words it says no.

use schemadiff::{
    compat::{Reason, breaks, serves, strictly_serves},
    model::{
        Check, Column, CompatView, Dialect, EnumType, Generated, Identity, IdentityKind, ObjectName, Schema, Sync,
        Table,
    },
};

const DIALECT: Dialect = Dialect::Postgres;

fn column(name: &str, ty: &str) -> Column {
    Column::new(name, ty)
}

fn nullable(name: &str, ty: &str) -> Column {
    Column { nullable: true, ..Column::new(name, ty) }
}

fn users(columns: Vec<Column>) -> Schema {
    let table = Table { columns, ..Table::new(ObjectName::new("users")) };
    Schema { tables: [(table.name.clone(), table.into())].into(), ..Schema::default() }
}

fn with(mut schema: Schema, change: impl FnOnce(&mut Table)) -> Schema {
    change(schema.tables.values_mut().next().unwrap());
    schema
}

fn refusals(state: &Schema, code: &Schema) -> Vec<String> {
    serves(DIALECT, state, code).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[test]
fn a_schema_serves_its_own_code() {
    let schema = users(vec![column("id", "bigint"), nullable("name", "text")]);
    assert_eq!(strictly_serves(DIALECT, &schema, &schema), Ok(()));
}

#[test]
fn what_the_code_declares_must_be_there() {
    let code = users(vec![column("id", "bigint"), column("name", "text")]);
    assert_eq!(refusals(&Schema::default(), &code), ["table `users` does not exist"]);
    assert_eq!(refusals(&users(vec![column("id", "bigint")]), &code), ["column `users.name` does not exist"]);
    assert_eq!(
        refusals(&users(vec![column("id", "integer"), column("name", "text")]), &code),
        ["column `users.id` is integer, the code expects bigint"]
    );
}

#[test]
fn what_the_code_does_not_know_must_fill_itself() {
    let code = users(vec![column("id", "bigint")]);
    let state = |c: Column| users(vec![column("id", "bigint"), c]);
    assert_eq!(
        refusals(&state(column("email", "text")), &code),
        ["column `users.email` needs a value on insert, the code does not know it"]
    );
    let identity = Identity { kind: IdentityKind::ByDefault, sequence: None, options: None };
    for harmless in [
        nullable("email", "text"),
        Column { default: Some("''".into()), ..column("email", "text") },
        Column { identity: Some(identity), ..column("n", "bigint") },
        Column { generated: Some(Generated { expr: "id".into(), stored: true }), ..column("g", "bigint") },
    ] {
        assert_eq!(serves(DIALECT, &state(harmless), &code), Ok(()));
    }
    let synced = with(state(column("email", "text")), |t| {
        t.syncs
            .insert("s".into(), Sync { fills: vec!["email".into()], filled: vec!["email".into()], ..Sync::default() });
    });
    assert_eq!(serves(DIALECT, &synced, &code), Ok(()));
}

#[test]
fn a_null_that_the_code_cannot_read_is_refused_until_something_proves_that_there_is_none() {
    let code = users(vec![column("name", "text")]);
    let state = users(vec![nullable("name", "text")]);
    assert_eq!(refusals(&state, &code), ["column `users.name` may be NULL, the code reads it as never NULL"]);

    let check = |expr: &str, not_valid| Check { expr: expr.into(), not_valid, no_inherit: false, comment: None };
    let with_check = |c: Check| with(state.clone(), |t| drop(t.checks.insert("proof".into(), c)));
    assert_eq!(serves(DIALECT, &with_check(check("(name IS NOT NULL)", false)), &code), Ok(()));
    assert_eq!(serves(DIALECT, &with_check(check("\"name\" IS NOT NULL", false)), &code), Ok(()));
    assert!(
        serves(DIALECT, &with_check(check("name IS NOT NULL", true)), &code).is_err(),
        "not validated proves nothing"
    );
    assert!(serves(DIALECT, &with_check(check("other IS NOT NULL", false)), &code).is_err());
    assert!(serves(DIALECT, &with_check(check("name IS NOT NULL OR id > 0", false)), &code).is_err());
}

#[test]
fn a_synced_column_serves_its_readers_when_the_backfill_has_ended() {
    let code = users(vec![nullable("display_name", "text")]);
    let state = |filled: &[&str]| {
        with(users(vec![nullable("display_name", "text"), nullable("fullname", "text")]), |t| {
            let filled = filled.iter().map(ToString::to_string).collect();
            t.syncs.insert(
                "s".into(),
                Sync { fills: vec!["fullname".into(), "display_name".into()], filled, ..Sync::default() },
            );
        })
    };
    assert_eq!(refusals(&state(&["fullname"]), &code), ["column `users.display_name` is not filled for all rows yet"]);
    assert_eq!(serves(DIALECT, &state(&["fullname", "display_name"]), &code), Ok(()));
    let old_code = users(vec![nullable("fullname", "text")]);
    assert_eq!(serves(DIALECT, &state(&["fullname"]), &old_code), Ok(()), "old code never waits for the new column");
}

#[test]
fn code_may_be_deployed_before_a_constraint_is_relaxed() {
    let code = users(vec![nullable("name", "text")]);
    let state = users(vec![column("name", "text")]);
    assert_eq!(serves(DIALECT, &state, &code), Ok(()));
    let strict = strictly_serves(DIALECT, &state, &code).unwrap_err();
    assert_eq!(strict[0].to_string(), "column `users.name` is NOT NULL, the code may write NULL");
}

#[test]
fn a_compatibility_view_stands_in_for_a_renamed_table() {
    let code = users(vec![column("id", "bigint"), nullable("note", "text")]);
    let accounts = ObjectName::new("accounts");
    let table =
        Table { columns: vec![column("id", "bigint"), nullable("remark", "text")], ..Table::new(accounts.clone()) };
    let view = |columns: &[(&str, &str)]| {
        let columns = columns.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
        let view = CompatView { name: ObjectName::new("users"), table: accounts.clone(), columns };
        Schema {
            tables: [(accounts.clone(), table.clone().into())].into(),
            compat_views: [(view.name.clone(), view)].into(),
            ..Schema::default()
        }
    };
    assert_eq!(serves(DIALECT, &view(&[("id", "id"), ("note", "remark")]), &code), Ok(()));
    assert_eq!(refusals(&view(&[("id", "id")]), &code), ["column `users.note` does not exist"]);
}

#[test]
fn only_its_own_version_sees_a_table_through_a_view() {
    let code = users(vec![column("id", "bigint"), nullable("note", "text")]);
    let before = users(vec![column("id", "bigint"), nullable("note", "text")]);
    let mut after = users(vec![column("id", "bigint"), nullable("remark", "text"), nullable("fresh", "text")]);
    let name = ObjectName::in_schema(Some("schemadiff_shop_v1"), "users");
    let columns = [("id", "id"), ("note", "remark")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
    let view = CompatView { name: name.clone(), table: ObjectName::new("users"), columns };
    after.compat_views.insert(name, view);

    let own = after.seen_through(Some("schemadiff_shop_v1"));
    assert_eq!(breaks(DIALECT, &before, &own, &code), []);
    for views in [None, Some("schemadiff_shop_v2"), Some("public")] {
        let other = after.seen_through(views);
        assert_eq!(refusals(&other, &code), ["column `users.note` does not exist"], "{views:?}");
    }
    // New code is not in the view's way, nor the view in its.
    let new = users(vec![column("id", "bigint"), nullable("remark", "text"), nullable("fresh", "text")]);
    assert_eq!(serves(DIALECT, &after.seen_through(Some("schemadiff_shop_v2")), &new), Ok(()));

    // Without the view `SELECT *` returns something else, even where every column is there.
    let mut gone = after.clone();
    gone.compat_views.clear();
    gone.tables.get_mut(&ObjectName::new("users")).unwrap().columns[1].name = "note".to_owned();
    let lost: Vec<_> = breaks(DIALECT, &own, &gone, &code);
    assert_eq!(lost, [Reason::LosesView { table: ObjectName::new("users") }]);
    gone.tables.get_mut(&ObjectName::new("users")).unwrap().columns.pop();
    assert_eq!(breaks(DIALECT, &own, &gone, &code), [], "as it was before");
}

#[test]
fn generated_and_defaulted_columns_keep_their_promise() {
    let generated = Column { generated: Some(Generated { expr: "1".into(), stored: true }), ..column("n", "bigint") };
    assert_eq!(
        refusals(&users(vec![generated]), &users(vec![column("n", "bigint")])),
        ["column `users.n` is generated, the code writes it"]
    );
    let defaulted = Column { default: Some("0".into()), ..column("n", "bigint") };
    assert_eq!(
        refusals(&users(vec![column("n", "bigint")]), &users(vec![defaulted])),
        ["column `users.n` has no default any more, the code leaves it to the database"]
    );
}

#[test]
fn an_enum_needs_every_label_the_code_may_write() {
    let mood = |values: &[&str]| {
        let name = ObjectName::new("mood");
        let values = values.iter().map(ToString::to_string).collect();
        Schema { enums: [(name.clone(), EnumType { name, values, comment: None })].into(), ..Schema::default() }
    };
    assert_eq!(
        refusals(&mood(&["sad"]), &mood(&["sad", "ok"])),
        ["type `mood` has no value 'ok', the code may write it"]
    );
    assert_eq!(
        serves(DIALECT, &mood(&["sad", "ok"]), &mood(&["sad"])),
        Ok(()),
        "a new label comes before the code that writes it"
    );
    let strict = strictly_serves(DIALECT, &mood(&["sad", "ok"]), &mood(&["sad"])).unwrap_err();
    assert_eq!(strict[0].to_string(), "type `mood` has the value 'ok', the code cannot read it");
}

#[test]
fn a_trigger_on_a_column_that_was_there_before_stops_no_reader_of_its_nulls() {
    let state = |there_before: Vec<String>| {
        with(users(vec![nullable("nick", "text")]), |t| {
            t.syncs.insert("s".into(), Sync { fills: vec!["nick".into()], there_before, ..Sync::default() });
        })
    };
    let (old_code, new_code) = (users(vec![nullable("nick", "text")]), users(vec![column("nick", "text")]));
    assert_eq!(serves(DIALECT, &state(vec!["nick".into()]), &old_code), Ok(()));
    assert!(serves(DIALECT, &state(vec!["nick".into()]), &new_code).is_err());
    assert!(serves(DIALECT, &state(vec![]), &old_code).is_err(), "a new column is read when it is filled");
}

#[test]
fn a_type_is_what_the_engine_makes_of_its_name() {
    let reasons = |dialect, actual: &str, declared: &str| {
        let (state, code) = (users(vec![column("c", actual)]), users(vec![column("c", declared)]));
        let texts = |reasons: Vec<_>| reasons.iter().map(ToString::to_string).collect::<Vec<_>>();
        texts(serves(dialect, &state, &code).err().unwrap_or_default())
    };
    let sqlite = [
        ("INT", "INTEGER"),
        ("bigint", "INTEGER"),
        ("BOOLEAN", "INTEGER"),
        ("DECIMAL(10,2)", "INTEGER"),
        ("VARCHAR(20)", "TEXT"),
        ("CLOB", "TEXT"),
        ("DATETIME", "TEXT"),
        ("DOUBLE PRECISION", "REAL"),
        ("", "BLOB"),
    ];
    for (actual, declared) in sqlite {
        assert_eq!(reasons(Dialect::Sqlite, actual, declared), [""; 0], "{actual} for {declared}");
    }
    for (actual, declared) in
        [("TEXT", "INTEGER"), ("INTEGER", "TEXT"), ("DECIMAL", "TEXT"), ("INTEGER", "REAL"), ("ANY", "INTEGER")]
    {
        let expected = format!("column `users.c` is {actual}, the code expects {declared}");
        assert_eq!(reasons(Dialect::Sqlite, actual, declared), [expected]);
    }
    for (actual, declared) in
        [("character varying(20)", "varchar(20)"), ("bigint", "int8"), ("timestamp with time zone", "timestamptz")]
    {
        assert_eq!(reasons(Dialect::Postgres, actual, declared), [""; 0], "{actual} for {declared}");
    }
    for (actual, declared) in [("character varying(20)", "text"), ("integer", "bigint"), ("numeric(10,2)", "numeric")] {
        assert_eq!(reasons(Dialect::Postgres, actual, declared).len(), 1, "{actual} for {declared}");
    }
}

#[test]
fn what_code_can_work_with_is_still_a_difference() {
    let code = users(vec![column("at", "TEXT")]);
    let state = users(vec![Column { collation: Some("NOCASE".into()), ..column("at", "DATETIME") }]);
    assert_eq!(serves(Dialect::Sqlite, &state, &code), Ok(()));
    let strict = strictly_serves(Dialect::Sqlite, &state, &code).unwrap_err();
    assert_eq!(
        strict[0].to_string(),
        "column `users.at` is DATETIME COLLATE NOCASE, the code says TEXT and can work with it"
    );
}
