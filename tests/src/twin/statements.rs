//! The statements of one version of a service, generated from its schema.

use std::collections::BTreeMap;

use schemadiff::model::{Column, Dialect, ForeignKey, IdentityKind, Index, ObjectName, Schema, Table, expr};

use super::{
    client::{Output, Statement},
    value::Kind,
};

/// All statements of one version.
pub struct Statements {
    /// By table, parents before children.
    pub tables: Vec<TableStatements>,
}

/// The statements on one table.
pub struct TableStatements {
    /// The table as this version knows it.
    pub table: Table,
    /// Primary key columns.
    pub key: Vec<String>,
    /// Columns that the service may write.
    pub writable: Vec<String>,
    /// Columns without which an insert fails.
    pub required: Vec<String>,
    /// Nullable columns from which the server computes one that is not.
    pub never_null: Vec<String>,
    /// Labels of the columns with an enumerated type.
    pub labels: BTreeMap<String, Vec<String>>,
    /// By key.
    pub select: Statement,
    /// By key, `FOR UPDATE`, where the engine has it.
    pub select_for_update: Option<Statement>,
    /// Everything.
    pub select_all: Statement,
    /// Every writable column, no result.
    pub insert: Statement,
    /// Every writable column, with `RETURNING`.
    pub insert_returning: Statement,
    /// The required columns alone, with `RETURNING`.
    pub insert_required: Statement,
    /// `ON CONFLICT (key) DO UPDATE`, where the key may be written.
    pub upsert: Option<Statement>,
    /// One statement per column: column, statement with the new value first and then the key.
    pub updates: Vec<(String, Statement)>,
    /// By key.
    pub delete: Statement,
    /// A join with each parent, by key: its columns are the child's.
    pub joins: Vec<Statement>,
    /// By key, with a star in the result: what comes back must have the columns that this version knows, in every way in
    /// which rows come back. They change no value.
    pub stars: Vec<Statement>,
}

impl Statements {
    /// Those of a schema. A table without a primary key is written once, when the rows are seeded, and then left alone.
    pub fn of(dialect: Dialect, schema: &Schema, always: &[String]) -> Self {
        let mut tables = Vec::new();
        for name in parents_first(schema) {
            // The rows of a partition are written to the table that it is a partition of.
            if schema.tables[&name].partition_of.is_none() {
                tables.push(TableStatements::of(dialect, schema, &schema.tables[&name], always));
            }
        }
        Self { tables }
    }
}

/// Table names, referenced ones first. In a cycle, references that may be NULL do not count.
pub fn parents_first(schema: &Schema) -> Vec<ObjectName> {
    let mut out: Vec<ObjectName> = Vec::new();
    let waits_for = |table: &Table, out: &[ObjectName], required_only: bool| {
        table.foreign_keys.values().any(|key| {
            let required = key.columns.iter().all(|c| table.column(c).is_some_and(|c| !c.nullable));
            (required || !required_only) && key.ref_table != table.name && !out.contains(&key.ref_table)
        })
    };
    while out.len() < schema.tables.len() {
        let mut left = schema.tables.values().filter(|t| !out.contains(&t.name));
        let next = left
            .clone()
            .find(|t| !waits_for(t, &out, false))
            .or_else(|| left.clone().find(|t| !waits_for(t, &out, true)))
            .or_else(|| left.next());
        match next {
            Some(table) => out.push(table.name.clone()),
            None => break,
        }
    }
    out
}

/// Builds SQL text for one table.
struct Writer<'a> {
    dialect: Dialect,
    table: &'a Table,
}

impl Writer<'_> {
    fn name(&self, name: &ObjectName) -> String {
        match &name.schema {
            Some(schema) => format!("{}.{}", quoted(schema), quoted(&name.name)),
            None => quoted(&name.name),
        }
    }

    fn column(&self, name: &str) -> &Column {
        self.table.column(name).unwrap_or_else(|| panic!("no column {name} in {}", self.table.name))
    }

    fn kind(&self, name: &str) -> Kind {
        Kind::of(self.dialect, &self.column(name).ty)
    }

    fn param(&self, number: usize, name: &str) -> String {
        match (self.dialect, self.kind(name)) {
            (Dialect::Sqlite, _) => format!("?{number}"),
            (_, Kind::Other) => format!("CAST(${number}::text AS {})", self.column(name).ty),
            _ => format!("${number}"),
        }
    }

    fn params(&self, first: usize, names: &[String]) -> Vec<String> {
        names.iter().enumerate().map(|(at, name)| self.param(first + at, name)).collect()
    }

    /// `a, b, a::text, b::text`, from `prefix.`.
    fn outputs(&self, prefix: &str) -> (String, Vec<Output>) {
        let names: Vec<_> = self.table.columns.iter().map(|c| format!("{prefix}{}", quoted(&c.name))).collect();
        let texts = names.iter().map(|name| match self.dialect {
            Dialect::Sqlite => format!("CAST({name} AS TEXT)"),
            _ => format!("{name}::text"),
        });
        let columns = self.table.columns.iter().map(|c| Output {
            name: c.name.clone(),
            kind: Kind::of(self.dialect, &c.ty),
            nullable: c.nullable,
        });
        (names.iter().cloned().chain(texts).collect::<Vec<_>>().join(", "), columns.collect())
    }

    fn where_key(&self, first: usize, key: &[String], prefix: &str) -> String {
        let parts = key.iter().enumerate();
        let parts = parts.map(|(at, k)| format!("{prefix}{} = {}", quoted(k), self.param(first + at, k)));
        parts.collect::<Vec<_>>().join(" AND ")
    }

    fn kinds(&self, names: &[String]) -> Vec<Kind> {
        names.iter().map(|name| self.kind(name)).collect()
    }

    fn insert(&self, names: &[String], tail: &str, columns: Vec<Output>) -> Statement {
        let table = self.name(&self.table.name);
        let sql = if names.is_empty() {
            format!("INSERT INTO {table} DEFAULT VALUES{tail}")
        } else {
            let list = names.iter().map(|n| quoted(n)).collect::<Vec<_>>().join(", ");
            format!("INSERT INTO {table} ({list}) VALUES ({}){tail}", self.params(1, names).join(", "))
        };
        Statement { sql, params: self.kinds(names), columns }
    }

    fn join(&self, key: &[String], foreign: &ForeignKey) -> Statement {
        let (list, columns) = self.outputs("c.");
        let on = foreign.columns.iter().zip(&foreign.ref_columns);
        let on = on.map(|(c, p)| format!("p.{} = c.{}", quoted(p), quoted(c))).collect::<Vec<_>>().join(" AND ");
        let sql = format!(
            "SELECT {list} FROM {} AS c LEFT JOIN {} AS p ON {on} WHERE {}",
            self.name(&self.table.name),
            self.name(&foreign.ref_table),
            self.where_key(1, key, "c."),
        );
        Statement { sql, params: self.kinds(key), columns }
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl TableStatements {
    fn of(dialect: Dialect, schema: &Schema, table: &Table, always_written: &[String]) -> Self {
        let w = Writer { dialect, table };
        let key = table.primary_key.as_ref().map(|k| k.columns.clone()).unwrap_or_default();
        let always = |c: &Column| c.identity.as_ref().is_some_and(|i| i.kind == IdentityKind::Always);
        let names = |keep: &dyn Fn(&Column) -> bool| -> Vec<String> {
            table.columns.iter().filter(|c| keep(c)).map(|c| c.name.clone()).collect()
        };
        let writable = names(&|c| c.generated.is_none() && !always(c));
        // A default that all rows share serves one row only where the column is in a key.
        let unique = |c: &Column| {
            let in_index = |i: &Index| i.unique && i.parts.iter().any(|p| p.column.as_ref() == Some(&c.name));
            let in_key = table.primary_key.as_ref().is_some_and(|k| k.columns.len() > 1 && k.columns.contains(&c.name));
            in_key
                || table.foreign_keys.values().any(|k| k.columns.contains(&c.name))
                || table.uniques.values().any(|u| u.columns.contains(&c.name))
                || table.indexes.values().any(in_index)
        };
        let differs = |default: &str| ["random", "uuid", "nextval"].iter().any(|word| default.contains(word));
        let shared_default = |c: &Column| c.default.as_deref().is_some_and(|default| !differs(default));
        let never_null = names(&|c| {
            let mut computed = table.columns.iter().filter(|g| !g.nullable).filter_map(|g| g.generated.as_ref());
            c.nullable && computed.any(|generated| expr::mentions(&generated.expr, &c.name))
        });
        let required = names(&|c| {
            !c.fills_itself()
                || never_null.contains(&c.name)
                || (unique(c) && shared_default(c))
                || (always_written.contains(&c.name) && writable.contains(&c.name))
        });
        let (list, outputs) = w.outputs("");
        let from = format!("SELECT {list} FROM {}", w.name(&table.name));
        let by_key = |tail: &str| Statement {
            sql: format!("{from} WHERE {}{tail}", w.where_key(1, &key, "")),
            params: w.kinds(&key),
            columns: outputs.clone(),
        };
        let returning = format!(" RETURNING {list}");
        Self {
            labels: labels(schema, table),
            select: by_key(""),
            select_for_update: (dialect == Dialect::Postgres).then(|| by_key(" FOR UPDATE")),
            select_all: Statement { sql: from.clone(), params: Vec::new(), columns: outputs.clone() },
            insert: w.insert(&writable, "", Vec::new()),
            insert_returning: w.insert(&writable, &returning, outputs.clone()),
            insert_required: w.insert(&required, &returning, outputs.clone()),
            upsert: upsert(&w, &key, &writable),
            updates: updates(&w, schema, &key, &writable),
            delete: Statement {
                sql: format!("DELETE FROM {} WHERE {}", w.name(&table.name), w.where_key(1, &key, "")),
                params: w.kinds(&key),
                columns: Vec::new(),
            },
            joins: table.foreign_keys.values().map(|f| w.join(&key, f)).collect(),
            stars: stars(&w, &key, &writable),
            table: table.clone(),
            key,
            writable,
            required,
            never_null,
        }
    }
}

fn labels(schema: &Schema, table: &Table) -> BTreeMap<String, Vec<String>> {
    let labels_of = |ty: &str| {
        let bare = ty.replace('"', "");
        schema.enums.values().find(|e| e.name.to_string() == bare || e.name.name == bare).map(|e| e.values.clone())
    };
    table.columns.iter().filter_map(|c| Some((c.name.clone(), labels_of(&c.ty)?))).collect()
}

fn upsert(w: &Writer<'_>, key: &[String], writable: &[String]) -> Option<Statement> {
    let rest: Vec<_> = writable.iter().filter(|c| !key.contains(c)).collect();
    if rest.is_empty() || !key.iter().all(|k| writable.contains(k)) {
        return None;
    }
    let target = key.iter().map(|k| quoted(k)).collect::<Vec<_>>().join(", ");
    let set = rest.iter().map(|c| format!("{0} = EXCLUDED.{0}", quoted(c))).collect::<Vec<_>>().join(", ");
    Some(w.insert(writable, &format!(" ON CONFLICT ({target}) DO UPDATE SET {set}"), Vec::new()))
}

/// `SELECT *`, `RETURNING *` of an update and of `ON CONFLICT DO UPDATE`, `FOR UPDATE`.
fn stars(w: &Writer<'_>, key: &[String], writable: &[String]) -> Vec<Statement> {
    if key.is_empty() || w.dialect != Dialect::Postgres {
        return Vec::new();
    }
    let (table, by_key) = (w.name(&w.table.name), w.where_key(1, key, ""));
    let mut all = vec![
        format!("SELECT * FROM {table} WHERE {by_key}"),
        format!("SELECT * FROM {table} WHERE {by_key} FOR UPDATE"),
        format!("SELECT a.* FROM {table} a JOIN {table} b USING ({0}) WHERE {1}", list(key), w.where_key(1, key, "a.")),
    ];
    if let Some(column) = writable.iter().rfind(|c| !key.contains(c)) {
        let column = quoted(column);
        all.push(format!("UPDATE {table} SET {column} = {column} WHERE {by_key} RETURNING *"));
        if key.iter().all(|k| writable.contains(k)) {
            let (columns, target) = (list(writable), list(key));
            all.push(format!(
                "INSERT INTO {table} ({columns}) SELECT {columns} FROM {table} WHERE {by_key} \
                 ON CONFLICT ({target}) DO UPDATE SET {column} = EXCLUDED.{column} RETURNING *"
            ));
        }
    }
    all.into_iter().map(|sql| Statement { sql, params: w.kinds(key), columns: Vec::new() }).collect()
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

/// Key columns, columns that another table references and parts of composite foreign keys stay as they are.
fn updates(w: &Writer<'_>, schema: &Schema, key: &[String], writable: &[String]) -> Vec<(String, Statement)> {
    let referenced = |column: &str| {
        let mut all = schema.tables.values().flat_map(|t| t.foreign_keys.values());
        all.any(|f| f.ref_table == w.table.name && f.ref_columns.iter().any(|c| c == column))
            || w.table.foreign_keys.values().any(|f| f.columns.len() > 1 && f.columns.iter().any(|c| c == column))
    };
    let mut updates = Vec::new();
    for column in writable.iter().filter(|c| !key.contains(c) && !referenced(c)) {
        let sql = format!(
            "UPDATE {} SET {} = {} WHERE {}",
            w.name(&w.table.name),
            quoted(column),
            w.param(1, column),
            w.where_key(2, key, "")
        );
        let params = std::iter::once(column).chain(key).map(|c| w.kind(c)).collect();
        updates.push((column.clone(), Statement { sql, params, columns: Vec::new() }));
    }
    updates
}
