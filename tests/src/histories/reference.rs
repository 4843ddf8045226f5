//! A database that goes through the states of a history: what does not change from one to the next is not built again.

use std::collections::BTreeSet;

use cargo_schemadiff::dialect::{Connection, Scope};
use schemadiff::model::Schema;

use super::{State, quoted};
use crate::engine::{Postgres, TestDatabase};

/// Empties a database but keeps its extensions, which take longest to make.
pub const RESET: &str = "DO $$
DECLARE command text;
BEGIN
  FOREACH command IN ARRAY ARRAY(
    SELECT format('DROP TABLE IF EXISTS %s CASCADE', c.oid::regclass) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
      WHERE relkind IN ('r', 'p') AND nspname !~ '^(pg_|information_schema)'
    UNION ALL SELECT format('DROP SEQUENCE IF EXISTS %s CASCADE', c.oid::regclass) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
      WHERE relkind = 'S' AND nspname !~ '^(pg_|information_schema)'
    UNION ALL SELECT format('DROP TYPE IF EXISTS %s CASCADE', t.oid::regtype) FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace
      LEFT JOIN pg_class c ON c.oid = typrelid
      WHERE (typtype = 'e' OR typtype = 'c' AND relkind = 'c') AND nspname !~ '^(pg_|information_schema)'
        AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = t.oid AND deptype = 'e')
    UNION ALL SELECT format('DROP FUNCTION IF EXISTS %s CASCADE', p.oid::regprocedure) FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
      WHERE nspname !~ '^(pg_|information_schema)' AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = p.oid AND deptype = 'e'))
  LOOP EXECUTE command; END LOOP;
END $$";

/// The database.
pub struct Reference {
    _db: TestDatabase,
    connection: Connection,
    at: Option<State>,
}

impl Reference {
    /// An empty one.
    pub async fn new() -> Self {
        let db = Postgres::shared().database();
        let connection = Connection::open(&db.url).await.unwrap();
        Self { _db: db, connection, at: None }
    }

    /// Goes to a state, and reads it.
    pub async fn schema_of(&mut self, state: &State) -> Schema {
        let sql = match &self.at {
            Some(before) if same_surroundings(before, state) => changes(before, state),
            _ => vec![RESET.to_owned(), state.sql()],
        };
        let text = sql.join(";\n");
        self.connection.run(&[text]).await.unwrap_or_else(|e| panic!("{}: {e}", state.id));
        self.at = Some(state.clone());
        let read = self.connection.introspect(&Scope::default()).await;
        read.unwrap_or_else(|e| panic!("{}: {e}", state.id)).schema
    }
}

/// Whether all is the same that is no table.
fn same_surroundings(before: &State, after: &State) -> bool {
    let of = |state: &State| {
        let tables: BTreeSet<_> = state.tables.keys().cloned().collect();
        (state.surroundings(&tables), state.create_enums())
    };
    of(before) == of(after)
}

/// The statements that rebuild the tables that differ.
fn changes(before: &State, after: &State) -> Vec<String> {
    let differs =
        |table: &&String| !before.tables.contains_key(*table) || before.content(table) != after.content(table);
    let mut changed: BTreeSet<String> = after.tables.keys().filter(differs).cloned().collect();
    // Partitions and their parents are built as one.
    loop {
        let family = after.tables.keys().filter(|table| {
            let parent = after.partitioned(table);
            let below =
                after.tables.keys().any(|t| changed.contains(t) && after.partitioned(t).as_ref() == Some(*table));
            below || parent.is_some_and(|parent| changed.contains(&parent))
        });
        let family: BTreeSet<String> = family.cloned().collect();
        if family.is_subset(&changed) {
            break;
        }
        changed.extend(family);
    }
    let gone = before.tables.keys().filter(|table| !after.tables.contains_key(*table));
    let dropped: BTreeSet<String> =
        gone.chain(changed.iter().filter(|t| before.tables.contains_key(*t))).cloned().collect();
    let mut sql: Vec<String> = dropped.iter().map(|t| format!("DROP TABLE IF EXISTS {} CASCADE", quoted(t))).collect();
    sql.extend(after.parents_first(&changed).into_iter().flat_map(|table| after.create_table(table)));
    for table in after.tables.keys() {
        if changed.contains(table) {
            sql.extend(after.create_foreign_keys(table));
        } else {
            // Those of the others to what was dropped went with it.
            sql.extend(after.create_foreign_keys_to(table, &dropped));
        }
    }
    sql
}
