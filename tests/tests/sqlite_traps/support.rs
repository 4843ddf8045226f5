//! A database file, and the part of the executor that these tests need.

use cargo_schemadiff::{
    Error,
    dialect::{Connection, Ddl, Dependents, Scope, ddl},
    prove::execute,
};
use schemadiff::{
    model::{Dialect, ObjectName, Schema, Table},
    plan::Envelope,
};

pub fn sqlite() -> Box<dyn Ddl> {
    ddl(Dialect::Sqlite, 3_051_003).unwrap()
}

/// A database file in WAL mode with foreign keys enforced.
pub struct Base {
    pub connection: Connection,
    pub url: String,
    _directory: tempfile::TempDir,
}

impl Base {
    pub async fn with(statements: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}?mode=rwc", directory.path().join("test.db").display());
        let connection = Connection::open(&url).await.unwrap();
        let mut base = Self { connection, url, _directory: directory };
        base.run(&["PRAGMA journal_mode=WAL", "PRAGMA synchronous=OFF", "PRAGMA foreign_keys=ON"]).await;
        base.run(statements).await;
        base
    }

    pub async fn run(&mut self, statements: &[&str]) {
        self.try_run(statements).await.unwrap();
    }

    pub async fn try_run(&mut self, statements: &[&str]) -> Result<(), Error> {
        let statements: Vec<_> = statements.iter().map(|s| (*s).to_owned()).collect();
        self.connection.run(&statements).await
    }

    /// The values of a query's first column, in order, with a space between them.
    pub async fn rows(&mut self, query: &str) -> String {
        // A name for the column, whatever the query calls it.
        let listed = format!("WITH r(v) AS ({query}) SELECT group_concat(coalesce(v, 'NULL'), ' ') FROM r");
        let row = self.connection.query_row(&listed, &[]).await.unwrap().unwrap();
        row[0].clone().unwrap_or_default()
    }

    pub async fn read(&mut self) -> Schema {
        self.connection.introspect(&Scope::default()).await.unwrap().schema
    }

    pub async fn table(&mut self, name: &str) -> Table {
        self.read().await.tables[&ObjectName::new(name)].clone().into_inner()
    }

    /// Rebuilds the table as `change` says and checks that the result is what was asked for.
    pub async fn rebuild(&mut self, table: &str, copy: &[(&str, &str)], change: impl FnOnce(&mut Table)) {
        let before = self.table(table).await;
        let mut after = before.clone();
        change(&mut after);
        let copy: Vec<_> = copy.iter().map(|(c, e)| ((*c).to_owned(), (*e).to_owned())).collect();
        let statements = sqlite().rebuild(&before, &after, &copy, &Dependents::default());
        self.carry_out(&statements).await.unwrap();
        assert_eq!(self.table(table).await, after);
        assert_eq!(self.rows("SELECT * FROM pragma_integrity_check").await, "ok");
    }

    /// `Envelope::Rebuild`, as the executor does it.
    pub async fn carry_out(&mut self, statements: &[String]) -> Result<(), Error> {
        execute::send(&mut self.connection, Envelope::Rebuild, statements).await
    }
}
