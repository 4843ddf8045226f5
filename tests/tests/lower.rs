//! From what structs declare to the schema of one engine: names, types, and what an engine cannot have.

use schemadiff::{
    artifact::{LowerError, Lowered, TableDecl, lower},
    model::{Dialect, IdentityKind, ObjectName},
};
use serde_json::{Value, json};

fn column(name: &str, postgres: &str, sqlite: &str) -> Value {
    json!({"name": name, "field": name, "nullable": false,
        "type": {"postgres": postgres, "mysql": "", "sqlite": sqlite}})
}

fn id() -> Value {
    column("id", "bigint", "INTEGER")
}

/// A table with a key `id` and whatever `more` says.
fn table(name: &str, columns: &[Value], more: Value) -> TableDecl {
    let mut columns = columns.to_vec();
    columns.insert(0, id());
    let mut decl = json!({
        "format": 1, "rust": format!("app::{name}"), "location": format!("src/{name}.rs:3"), "name": name,
        "columns": columns, "primary_key": {"columns": ["id"]}
    });
    let (Value::Object(all), Value::Object(more)) = (&mut decl, more) else { panic!("two objects") };
    all.extend(more);
    serde_json::from_value(decl).expect("a declaration")
}

fn lowered(tables: &[TableDecl], dialect: Dialect) -> Lowered {
    lower(tables, dialect).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn refused(tables: &[TableDecl], dialect: Dialect) -> Vec<LowerError> {
    lower(tables, dialect).expect_err("it is refused")
}

fn only(errors: &[LowerError]) -> &str {
    let [error] = errors else { panic!("one error, not {errors:?}") };
    assert!(!error.help.is_empty());
    &error.message
}

#[test]
fn default_names_are_postgresqls() {
    let org = table("orgs", &[column("code", "text", "TEXT")], json!({"uniques": [{"columns": ["code"]}]}));
    let user = table(
        "users",
        &[column("org", "bigint", "INTEGER"), column("email", "text", "TEXT")],
        json!({
            "uniques": [{"columns": ["email", "org"]}],
            "checks": [{"expr": "length(email) > 3"}, {"expr": "email <> '' AND org > 0"}, {"expr": "org <> 3"}, {"expr": "org <> 4"}],
            "foreign_keys": [{"columns": ["org"], "references": [{"table": "orgs", "column": "id"}]}],
            "indexes": [
                {"parts": [{"column": "org"}, {"column": "email"}]},
                {"parts": [{"expr": "lower(email)"}]},
                {"parts": [{"column": "org"}], "where": "org > 3"},
                {"parts": [{"column": "org"}], "include": ["email"]}
            ]
        }),
    );
    let out = lowered(&[org, user], Dialect::Postgres);
    let users = &out.schema.tables[&ObjectName::new("users")];
    assert_eq!(users.primary_key.as_ref().and_then(|k| k.name.as_deref()), Some("users_pkey"));
    assert_eq!(users.uniques.keys().collect::<Vec<_>>(), ["users_email_org_key"]);
    assert_eq!(
        users.checks.keys().collect::<Vec<_>>(),
        ["users_check", "users_email_check", "users_org_check", "users_org_check1"]
    );
    assert_eq!(users.foreign_keys.keys().collect::<Vec<_>>(), ["users_org_fkey"]);
    assert_eq!(
        users.indexes.keys().collect::<Vec<_>>(),
        ["users_lower_idx", "users_org_email_idx", "users_org_email_idx1", "users_org_idx"]
    );
}

#[test]
fn one_declaration_serves_both_engines() {
    let mood = json!({"name": "mood", "field": "mood", "nullable": true, "type": {
        "postgres": "mood", "mysql": "varchar(255)", "sqlite": "TEXT",
        "enumeration": {"name": "mood", "values": ["happy", "it's"], "renamed_from": "app.temper",
                        "renamed_values": [{"from": "glad", "to": "happy"}]}}});
    let decl = table("t", &[mood, column("code", "text", "TEXT")], json!({"uniques": [{"columns": ["code"]}]}));
    let name = ObjectName::new("t");

    let lowered_here = lowered(std::slice::from_ref(&decl), Dialect::Postgres);
    let mood = ObjectName::new("mood");
    assert_eq!(lowered_here.hints.renamed_types[&mood], ObjectName::in_schema(Some("app"), "temper"));
    assert_eq!(lowered_here.hints.renamed_labels[&(mood, "happy".to_owned())], "glad");
    let postgres = lowered_here.schema;
    assert_eq!(postgres.enums[&ObjectName::new("mood")].values, ["happy", "it's"]);
    assert!(postgres.tables[&name].checks.is_empty());
    assert_eq!(postgres.tables[&name].columns[0].identity, None);

    let sqlite = lowered(&[decl], Dialect::Sqlite).schema;
    assert!(sqlite.enums.is_empty());
    let table = &sqlite.tables[&name];
    assert_eq!(table.checks["t_mood_check"].expr, "mood IN ('happy', 'it''s')");
    assert!(table.uniques.is_empty() && table.indexes["t_code_key"].unique);
    assert_eq!(table.primary_key.as_ref().map(|key| &key.name), Some(&None));
    // An INTEGER PRIMARY KEY is the rowid.
    assert_eq!(table.columns[0].identity.as_ref().map(|it| it.kind), Some(IdentityKind::ByDefault));
}

#[test]
fn a_default_name_gives_way_to_one_that_was_given() {
    let a = table(
        "a",
        &[column("x", "text", "TEXT")],
        json!({
        "indexes": [{"parts": [{"column": "x"}]}, {"name": "a_x_idx", "parts": [{"expr": "lower(x)"}]}]}),
    );
    let out = lowered(&[a, table("a_x_idx1", &[], json!({}))], Dialect::Postgres);
    // `a_x_idx1` is a table.
    let names: Vec<_> = out.schema.tables[&ObjectName::new("a")].indexes.keys().cloned().collect();
    assert_eq!(names, ["a_x_idx", "a_x_idx2"]);
}

#[test]
fn long_names_are_refused_where_the_server_would_cut_them() {
    let long = "x".repeat(80);
    let decl = || table(&long, &[column(&"c".repeat(80), "text", "TEXT")], json!({}));
    let errors = refused(&[decl()], Dialect::Postgres);
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors.iter().all(|e| e.message.contains("80 bytes, and PostgreSQL keeps 63")));
    assert_eq!(errors[0].location, format!("src/{long}.rs:3"));
    // SQLite has no such limit.
    assert!(lowered(&[decl()], Dialect::Sqlite).schema.tables.contains_key(&ObjectName::new(long.as_str())));
    // 63 bytes are fine, and their default names fit too.
    let out = lowered(&[table(&"é".repeat(31), &[], json!({}))], Dialect::Postgres);
    let key = out.schema.tables.values().next().and_then(|t| t.primary_key.clone()).and_then(|k| k.name);
    assert!(key.is_some_and(|name| name.len() <= 63 && name.ends_with("_pkey")));
}

#[test]
fn names_with_quotes_dots_and_spaces_stay_what_they_are() {
    let name = "we\"ird. name";
    let decl =
        table(name, &[column("a \"b\"", "text", "TEXT")], json!({"checks": [{"expr": "\"a \"\"b\"\"\" <> ''"}]}));
    for dialect in [Dialect::Postgres, Dialect::Sqlite] {
        let out = lowered(std::slice::from_ref(&decl), dialect);
        let table = &out.schema.tables[&ObjectName::new(name)];
        assert_eq!(table.columns[1].name, "a \"b\"");
        assert_eq!(table.checks.keys().collect::<Vec<_>>(), [&format!("{name}_a \"b\"_check")]);
    }
}

#[test]
fn structs_that_contradict_each_other_are_refused() {
    let errors =
        refused(&[table("t", &[], json!({})), table("t", &[], json!({"rust": "app::other::T"}))], Dialect::Postgres);
    assert!(only(&errors).contains("table `t` is already the struct"), "{errors:?}");
    // SQLite does not tell `T` from `t`, PostgreSQL does.
    let two = [table("t", &[], json!({})), table("T", &[], json!({}))];
    assert!(only(&refused(&two, Dialect::Sqlite)).contains("already the struct"));
    assert_eq!(lowered(&two, Dialect::Postgres).schema.tables.len(), 2);
    // `public` is the default schema.
    let two = [table("t", &[], json!({})), table("t", &[], json!({"schema": "public"}))];
    assert!(only(&refused(&two, Dialect::Postgres)).contains("already the struct"));
}

#[test]
fn foreign_keys_need_a_table_and_a_key() {
    let to = |table: &str, column: &str| json!({"foreign_keys": [{"columns": ["org"], "references": [{"table": table, "column": column}]}]});
    let user = |to| table("users", &[column("org", "bigint", "INTEGER")], to);
    for dialect in [Dialect::Postgres, Dialect::Sqlite] {
        assert!(only(&refused(&[user(to("orgs", "id"))], dialect)).contains("`orgs`, which is not in the artifact"));
        let org = table("orgs", &[column("code", "bigint", "INTEGER")], json!({}));
        assert!(only(&refused(&[user(to("orgs", "code")), org], dialect)).contains("(code), which is not unique"));
        let org = table("orgs", &[column("code", "bigint", "INTEGER")], json!({"uniques": [{"columns": ["code"]}]}));
        lowered(&[user(to("orgs", "code")), org], dialect);
    }
}

#[test]
fn sqlite_says_what_it_does_not_have() {
    let say = |decl| only(&refused(&[decl], Dialect::Sqlite)).to_owned();
    assert!(say(table("t", &[], json!({"schema": "app"}))).contains("in a schema of its own"));
    assert!(say(table("t", &[column("a", "text[]", "")], json!({}))).contains("has no counterpart on sqlite"));
    let x = || column("x", "text", "TEXT");
    assert!(
        say(table("t", &[x()], json!({"indexes": [{"parts": [{"column": "x"}], "method": "gin"}]})))
            .contains("`method`")
    );
    assert!(
        say(table("t", &[x()], json!({"uniques": [{"columns": ["x"], "deferrable": "deferred"}]})))
            .contains("deferrable")
    );
    let mut n = column("n", "bigint", "INTEGER");
    n["identity"] = json!("by_default");
    assert!(say(table("t", &[n], json!({}))).contains("SQLite cannot number `n`"));
    let mut text = x();
    text["identity"] = json!("always");
    assert!(
        only(&refused(&[table("t", &[text], json!({}))], Dialect::Postgres)).contains("`identity` column `x` is text")
    );
    let unsigned = table("t", &[column("u", "", "INTEGER")], json!({}));
    assert!(only(&refused(&[unsigned], Dialect::Postgres)).contains("has no counterpart on postgres"));
}

#[test]
fn enums_of_one_name_must_be_one() {
    let mood = |field: &str, values: &[&str]| {
        json!({"name": field, "field": field, "nullable": false, "type": {
        "postgres": "mood", "mysql": "", "sqlite": "TEXT", "enumeration": {"name": "mood", "values": values}}})
    };
    let decl = table("t", &[mood("a", &["x"]), mood("b", &["x", "y"])], json!({}));
    assert!(only(&refused(&[decl], Dialect::Postgres)).contains("two enums with different values"));
}

#[test]
fn hints_are_kept_beside_the_schema() {
    let mut name = column("display_name", "text", "TEXT");
    name["renamed_from"] = json!("fullname");
    let mut key = column("email_key", "text", "TEXT");
    key["backfill"] = json!("lower(people.email) /* in any case */");
    let decl = table("users", &[name, key], json!({"schema": "app", "renamed_from": "people"}));
    let hints = lowered(&[decl], Dialect::Postgres).hints;
    let users = ObjectName::in_schema(Some("app"), "users");
    assert_eq!(hints.renamed_tables[&users], ObjectName::in_schema(Some("app"), "people"));
    assert_eq!(hints.renamed_columns[&(users.clone(), "display_name".to_owned())], "fullname");
    assert_eq!(hints.backfills[&(users.clone(), "email_key".to_owned())], "lower(email)");
    assert_eq!(hints.locations[&users], "src/users.rs:3");
    let moved = table("users", &[], json!({"schema": "app", "renamed_from": "public.people"}));
    let hints = lowered(&[moved], Dialect::Postgres).hints;
    assert_eq!(hints.renamed_tables[&users], ObjectName::new("people"));
    let broken = table("users", &[], json!({"renamed_from": "a.b.c"}));
    assert!(only(&refused(&[broken], Dialect::Postgres)).contains("is not a name"));
}

/// The server would say so half-way through a plan.
#[test]
fn an_index_cannot_be_called_like_another_tables() {
    let indexed = |name: &str, index: &str| {
        table(name, &[column("a", "text", "TEXT")], json!({"indexes": [{"name": index, "parts": [{"column": "a"}]}]}))
    };
    for dialect in [Dialect::Postgres, Dialect::Sqlite] {
        let errors = refused(&[indexed("one", "by_a"), indexed("two", "by_a")], dialect);
        assert!(only(&errors).contains("`by_a`") && errors[0].location.contains("two"), "{errors:?}");
        let errors = refused(&[indexed("one", "two"), indexed("two", "by_a")], dialect);
        assert!(only(&errors).contains("`two`") && errors[0].location.contains("one"), "{errors:?}");
        let errors = refused(&[indexed("one", "one")], dialect);
        assert!(only(&errors).contains("`one`"), "{errors:?}");
        lowered(&[indexed("one", "by_a"), indexed("two", "by_b")], dialect);
        // Of one name, in two database schemas or where a key has none.
        let key = |name: &str| table(name, &[], json!({"primary_key": {"columns": ["id"], "name": "pk"}}));
        if dialect == Dialect::Sqlite {
            lowered(&[key("one"), key("two")], dialect);
        } else {
            assert!(only(&refused(&[key("one"), key("two")], dialect)).contains("`pk`"));
        }
    }
}
