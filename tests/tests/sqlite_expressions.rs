//! The normal spelling of an expression means what the expression means.

use cargo_schemadiff::dialect::{Connection, normalize_statically};
use proptest::prelude::*;
use schemadiff::model::{Check, Column, Dialect, ObjectName, Schema, Table};

/// The normal spelling, the way every declared check goes.
fn normal(expr: &str) -> String {
    let mut table = Table::new(ObjectName::new("t"));
    table.columns = ["a", "b", "Odd Name"].map(|name| Column::new(name, "")).into();
    let check = Check { expr: expr.to_owned(), not_valid: false, no_inherit: false, comment: None };
    table.checks.insert("c".into(), check);
    let mut schema = Schema::default();
    schema.tables.insert(table.name.clone(), table.into());
    normalize_statically(Dialect::Sqlite, &mut schema);
    schema.tables[&ObjectName::new("t")].checks["c"].expr.clone()
}

/// Operands in many spellings.
fn operand() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "a",
        "A",
        "\"a\"",
        "[b]",
        "`b`",
        "t.a",
        "\"t\".\"b\"",
        "main.t.a",
        "\"Odd Name\"",
        "\"odd name\"",
        "1",
        "-1",
        "- 1",
        "1.5e-1",
        "'x'",
        "'it''s'",
        "'(,)--'",
        "x'0aFF'",
        "NULL",
        "null",
        "true",
        "\"a text\"",
        "'A'",
        ".5",
        "+2",
    ])
    .prop_map(str::to_owned)
}

fn expression() -> impl Strategy<Value = String> {
    operand().prop_recursive(5, 40, 3, |inner| {
        let one = prop::sample::select(vec![
            "({})",
            "(( {} ))",
            "-{}",
            "- {}",
            "NOT {}",
            "not({})",
            "~{}",
            "{} ISNULL",
            "{} notnull",
            "{} NOT NULL",
            "{} is null",
            "LOWER({})",
            "abs( ({}) )",
            "typeof({})",
            "cast({} as text)",
            "CAST(({}) AS integer)",
            "{} COLLATE nocase",
            "+{}",
            "exists (select {})",
            "(SELECT {})",
            "length /* c */ ({})",
        ]);
        let two = prop::sample::select(vec![
            "{} + {}",
            "({})-({})",
            "{}*{}",
            "{} || {}",
            "{}=={}",
            "{} != {}",
            "{} <> {}",
            "{} and {}",
            "{} OR {}",
            "{} is {}",
            "{} IS NOT {}",
            "{} IS DISTINCT FROM {}",
            "{} < {}",
            "{} in ({})",
            "{} IN (({}))",
            "{} NOT IN ({}, 'x')",
            "{} LIKE {}",
            "{} glob {}",
            "coalesce({}, ({}))",
            "{} & {}",
            "{} -- c\n - {}",
            "{} || - {}",
            "({}, 1) = ({}, 1)",
            "{} % {}",
            "{} >> {}",
        ]);
        let three = prop::sample::select(vec![
            "{} between {} and {}",
            "CASE WHEN {} THEN {} ELSE {} END",
            "case {} when {} then {} end",
            "iif({}, ({}), {})",
        ]);
        let filled = |template: &str, parts: &[String]| {
            parts.iter().fold(template.to_owned(), |text, part| text.replacen("{}", part, 1))
        };
        prop_oneof![
            (one, inner.clone()).prop_map(move |(t, x)| filled(t, &[x])),
            (two, inner.clone(), inner.clone()).prop_map(move |(t, x, y)| filled(t, &[x, y])),
            (three, inner.clone(), inner.clone(), inner).prop_map(move |(t, x, y, z)| filled(t, &[x, y, z])),
        ]
    })
}

async fn values(base: &mut Connection, expr: &str) -> Result<Vec<Option<String>>, String> {
    let sql = format!("SELECT group_concat(quote({expr}), ';') FROM t");
    let row = base.query_row(&sql, &[]).await.map_err(|e| e.to_string())?;
    Ok(row.unwrap_or_default())
}

async fn filled() -> Connection {
    let mut base = Connection::open("sqlite::memory:").await.unwrap();
    let statements = [
        "CREATE TABLE t (a, b, \"Odd Name\")",
        "INSERT INTO t VALUES (1, 'x', NULL), (NULL, 'A', 'a text'), ('a', 2.5, x'0AFF'), (-1, '1', 0)",
    ];
    base.run(&statements.map(str::to_owned)).await.unwrap();
    base
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_global_rejects: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn the_value_stays(expr in expression()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let spelled = normal(&expr);
        let (before, after) = runtime.block_on(async {
            let mut base = filled().await;
            (values(&mut base, &expr).await, values(&mut base, &spelled).await)
        });
        // Some random texts are no expressions at all (`NOT NULL` behind an operator, row values as operands).
        if let Ok(before) = before {
            prop_assert_eq!(Ok(before), after, "{}", spelled);
        }
        prop_assert_eq!(normal(&spelled), spelled.clone(), "it changes again");
    }
}
