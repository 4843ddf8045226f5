//! Random tables are read back as they were created.

use cargo_schemadiff::dialect::{Connection, Scope, normalize_statically};
use proptest::prelude::*;
use schemadiff::model::*;

use super::{check, index, part, references, schema, sqlite};

fn name() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[a-z]{1,6}", 1 => "[a-zA-Z \"'\\[\\]`;,()ü.-]{1,8}"]
}

fn random_column() -> impl Strategy<Value = Column> {
    let ty =
        prop::sample::select(vec!["INTEGER", "TEXT", "REAL", "BLOB", "VARCHAR(9)", "DECIMAL(10,2)", "", "BIG INT"]);
    let default = prop::option::of(prop_oneof![
        "'[a-z ();,\"-]{0,6}'",
        "-?[0-9]{1,5}",
        Just("CURRENT_TIMESTAMP".to_owned()),
        Just("lower('X')".to_owned()),
        Just("TRUE".to_owned()),
    ]);
    let collation = prop::option::of(prop::sample::select(vec!["NOCASE".to_owned(), "RTRIM".to_owned()]));
    let generated = prop::option::weighted(0.2, (Just("1 + 2".to_owned()), any::<bool>()));
    (name(), ty, any::<bool>(), default, collation, generated).prop_map(
        |(name, ty, nullable, default, collation, generated)| Column {
            nullable,
            default: if generated.is_some() { None } else { default },
            collation,
            generated: generated.map(|(expr, stored)| Generated { expr, stored }),
            ..Column::new(name, ty)
        },
    )
}

prop_compose! {
    fn random_table()(
        table_name in name().prop_filter("reserved", |n| !n.starts_with("sqlite_")),
        columns in prop::collection::vec(random_column(), 1..7),
        key_size in 0..3_usize,
        without_rowid in any::<bool>(),
        indexed in prop::collection::vec((name(), any::<prop::sample::Index>(), any::<bool>(), any::<bool>(), any::<bool>()), 0..3),
        checked in prop::option::of((name(), any::<prop::sample::Index>())),
        referenced in prop::option::of((name(), any::<prop::sample::Index>())),
    ) -> Table {
        let mut seen = std::collections::BTreeSet::new();
        let mut table = Table::new(ObjectName::new(table_name));
        table.columns = columns.into_iter().filter(|c| seen.insert(c.name.to_lowercase())).collect();
        // SQLite wants at least one column that is not generated, and none of them in the key.
        table.columns[0].generated = None;
        let plain: Vec<_> = table.columns.iter().filter(|c| c.generated.is_none()).map(|c| c.name.clone()).collect();
        let key: Vec<_> = plain.iter().take(key_size).cloned().collect();
        if !key.is_empty() {
            table.primary_key = Some(PrimaryKey::over(None, key.clone()));
            table.options.without_rowid = without_rowid;
        }
        let names: Vec<_> = table.columns.iter().map(|c| c.name.clone()).collect();
        for (at, (index_name, column, unique, descending, partial)) in indexed.into_iter().enumerate() {
            let order = if descending { SortOrder::Desc } else { SortOrder::Asc };
            let parts = vec![IndexPart { order, ..part(column.get(&names).as_str()) }];
            let predicate = partial.then(|| format!("{} IS NOT NULL", sqlite().ident(&plain[0])));
            let constraint = unique && !partial && !descending;
            table.indexes.insert(format!("{index_name}{at}"), Index { unique, predicate, constraint, ..index(parts) });
        }
        if let Some((check_name, column)) = checked {
            table.checks.insert(check_name, check(&format!("{} <> 'x'", sqlite().ident(column.get(&names).as_str()))));
        }
        if let Some((fk_name, column)) = referenced {
            table.foreign_keys.insert(fk_name, references(&[column.get(&names).as_str()], "elsewhere", &["id"]));
        }
        table
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn random_tables_are_read_back(table in random_table()) {
        let mut wanted = schema([table]);
        normalize_statically(Dialect::Sqlite, &mut wanted);
        for table in wanted.tables.values_mut() {
            // Two equal constraints are one to SQLite.
            let mut seen = Vec::new();
            table.indexes.retain(|_, i| !i.constraint || !seen.contains(i) && { seen.push(i.clone()); true });
            let never_null = table.options.without_rowid;
            let key = table.primary_key.as_ref().map(|k| k.columns.clone()).unwrap_or_default();
            for column in table.columns.iter_mut().filter(|c| never_null && key.contains(&c.name)) {
                column.nullable = false;
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let read = runtime.block_on(async {
            let mut base = Connection::open("sqlite::memory:").await.unwrap();
            for table in wanted.tables.values() {
                base.run(&sqlite().create_table(table)).await.unwrap();
            }
            base.introspect(&Scope::default()).await.unwrap().schema
        });
        prop_assert_eq!(read, wanted);
    }
}
