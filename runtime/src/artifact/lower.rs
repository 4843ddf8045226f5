//! From what structs declare to the schema of one engine.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{CheckDecl, ColumnDecl, EnumDecl, IdentityDecl, IndexDecl, TableDecl, names::Names, naming};
use crate::model::{
    Check, Column, Deferrable, Dialect, EnumType, ForeignKey, Generated, Identity, IdentityKind, Index, IndexPart,
    ObjectKey, ObjectName, PartitionBy, PartitionByError, PartitionOf, PrimaryKey, Schema, Table, TableOptions, Unique,
    expr,
};

/// A schema, and what its structs say about the way there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lowered {
    /// The schema, with every name spelled out.
    pub schema: Schema,
    /// Intent that is no part of the schema.
    pub hints: Hints,
}

/// What the structs say about renames, about values for existing rows, and where they stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hints {
    /// New name to old name.
    pub renamed_tables: BTreeMap<ObjectName, ObjectName>,
    /// (Table under its new name, new column name) to old column name.
    pub renamed_columns: BTreeMap<(ObjectName, String), String>,
    /// New name of an enumerated type to its old name.
    pub renamed_types: BTreeMap<ObjectName, ObjectName>,
    /// (Type under its new name, new label) to old label.
    pub renamed_labels: BTreeMap<(ObjectName, String), String>,
    /// New key of an object to its old one.
    pub renamed_objects: BTreeMap<ObjectKey, ObjectKey>,
    /// (Table, column) to the expression that gives existing rows their value.
    pub backfills: BTreeMap<(ObjectName, String), String>,
    /// (Table, column) to the function of the application that gives existing rows their value, as `name(column, ..)`.
    pub backfills_with: BTreeMap<(ObjectName, String), String>,
    /// Table to `file:line` of its struct.
    pub locations: BTreeMap<ObjectName, String>,
}

/// A struct declares what the engine cannot have, or contradicts another struct.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LowerError {
    /// `file:line` of the struct.
    pub location: String,
    /// Rust path of the struct.
    pub rust: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

impl fmt::Display for LowerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}; {}", self.location, self.rust, self.message, self.help)
    }
}

impl std::error::Error for LowerError {}

/// Makes the schema of one engine out of the derived tables.
///
/// # Errors
/// Every contradiction there is, in the order of the structs.
pub fn lower(tables: &[TableDecl], dialect: Dialect) -> Result<Lowered, Vec<LowerError>> {
    let mut lowering = Lowering { dialect, out: Lowered::default(), errors: Vec::new(), names: Names::default() };
    let decls = lowering.collect(tables);
    for (table, name, first) in lowering.names.reserve(&decls, dialect) {
        let message = match first == table {
            true => format!("the name `{name}` is given to a table and to a constraint or index of it"),
            false => {
                format!("the name `{name}` is given to a constraint or index, and `{first}` has it or is called so")
            }
        };
        lowering.fail(decls[&table], message, "give one of the two another name");
    }
    for (name, decl) in &decls {
        let table = lowering.table(name, decl);
        lowering.out.schema.tables.insert(name.clone(), table.into());
        lowering.hints(name, decl);
    }
    for (name, decl) in &decls {
        lowering.partitions(name, decl);
    }
    for (name, decl) in &decls {
        lowering.foreign_keys(name, decl);
    }
    let mut errors = lowering.errors;
    errors.sort();
    errors.dedup();
    if errors.is_empty() { Ok(lowering.out) } else { Err(errors) }
}

struct Lowering {
    dialect: Dialect,
    out: Lowered,
    errors: Vec<LowerError>,
    names: Names,
}

/// The default schema has no name in the model.
pub(super) fn object_name(dialect: Dialect, schema: Option<&str>, name: &str) -> ObjectName {
    let default = if dialect == Dialect::Postgres { "public" } else { "main" };
    ObjectName::in_schema(schema.filter(|schema| *schema != default), name)
}

impl Lowering {
    fn fail(&mut self, decl: &TableDecl, message: impl Into<String>, help: impl Into<String>) {
        self.errors.push(LowerError {
            location: decl.location.clone(),
            rust: decl.rust.clone(),
            message: message.into(),
            help: help.into(),
        });
    }

    fn collect<'d>(&mut self, tables: &'d [TableDecl]) -> BTreeMap<ObjectName, &'d TableDecl> {
        let mut out: BTreeMap<ObjectName, &TableDecl> = BTreeMap::new();
        for decl in tables {
            let name = object_name(self.dialect, decl.schema.as_deref(), &decl.name);
            if self.dialect != Dialect::Postgres && name.schema.is_some() {
                let message = format!("table `{name}` is in a schema of its own, and {} has none", self.dialect);
                self.fail(decl, message, "leave `schema` away");
            }
            self.check_name(decl, "table", &decl.name);
            if let Some(schema) = &decl.schema {
                self.check_name(decl, "schema", schema);
            }
            let folded = |name: &ObjectName| (name.schema.clone(), self.dialect.fold(&name.name));
            let first = out.iter().find(|(other, _)| folded(other) == folded(&name)).map(|(_, first)| *first);
            if let Some(first) = first {
                let message = format!("table `{name}` is already the struct {} at {}", first.rust, first.location);
                self.fail(decl, message, "give one of them another name, or derive `Table` for only one");
                continue;
            }
            out.insert(name, decl);
        }
        out
    }

    /// PostgreSQL cuts longer names off in silence, and two of them may become one.
    fn check_name(&mut self, decl: &TableDecl, what: &str, name: &str) {
        if self.dialect == Dialect::Postgres && name.len() > naming::MAX_NAME {
            let message =
                format!("the {what} name `{name}` has {} bytes, and PostgreSQL keeps {}", name.len(), naming::MAX_NAME);
            self.fail(decl, message, "write a shorter name");
        }
    }

    fn table(&mut self, name: &ObjectName, decl: &TableDecl) -> Table {
        let mut table = Table::new(name.clone());
        self.check_columns(decl);
        table.columns = decl.columns.iter().map(|column| self.column(name, decl, column)).collect();
        table.comment = decl.comment.clone().filter(|_| self.dialect != Dialect::Sqlite);
        table.options = TableOptions {
            unlogged: decl.unlogged && self.dialect == Dialect::Postgres,
            strict: decl.strict && self.dialect == Dialect::Sqlite,
            without_rowid: decl.without_rowid && self.dialect == Dialect::Sqlite,
            ..TableOptions::default()
        };
        table.partition_by = self.partition_by(decl);
        self.checks(&mut table, decl);
        self.primary_key(&mut table, decl);
        self.uniques(&mut table, decl);
        for index in &decl.indexes {
            self.index(&mut table, decl, index);
        }
        table
    }

    fn partition_by(&mut self, decl: &TableDecl) -> Option<PartitionBy> {
        let clause = decl.partition_by.as_ref().filter(|_| self.dialect == Dialect::Postgres)?;
        clause
            .parse()
            .map_err(|error: PartitionByError| self.fail(decl, error.to_string(), "correct `partition_by`"))
            .ok()
    }

    fn partitions(&mut self, parent: &ObjectName, decl: &TableDecl) {
        if self.dialect != Dialect::Postgres {
            return;
        }
        for partition in &decl.partitions {
            self.check_name(decl, "table", &partition.name);
            let schema = partition.schema.as_deref().or(decl.schema.as_deref());
            let name = object_name(self.dialect, schema, &partition.name);
            if self.out.schema.tables.contains_key(&name) {
                let message = format!("partition `{name}` has the name of another table");
                self.fail(decl, message, "give it another name");
                continue;
            }
            let mut table = Table::new(name.clone());
            table.partition_of = Some(PartitionOf { parent: parent.clone(), bound: partition.bound.clone() });
            self.out.schema.tables.insert(name.clone(), table.into());
            self.out.hints.locations.insert(name, decl.location.clone());
        }
    }

    fn check_columns(&mut self, decl: &TableDecl) {
        let mut seen = BTreeSet::new();
        for column in &decl.columns {
            self.check_name(decl, "column", &column.name);
            if !seen.insert(self.dialect.fold(&column.name)) {
                let message = format!(
                    "column `{}` is there twice: {} does not tell upper from lower case",
                    column.name, self.dialect
                );
                self.fail(decl, message, "give one of the two another name");
            }
        }
    }

    fn column(&mut self, table: &ObjectName, decl: &TableDecl, column: &ColumnDecl) -> Column {
        if let Some(enumeration) = &column.ty.enumeration {
            self.enumeration(decl, enumeration);
        }
        let ty = match self.dialect {
            Dialect::Postgres => &column.ty.postgres,
            Dialect::Mysql => &column.ty.mysql,
            Dialect::Sqlite => &column.ty.sqlite,
        };
        if ty.is_empty() {
            let message = format!("the type of `{table}.{}` has no counterpart on {}", column.name, self.dialect);
            let help = format!("name one: `#[column(ty({} = \"..\"))]` on field `{}`", self.dialect, column.field);
            self.fail(decl, message, help);
        }
        let identity =
            column.identity.map(|form| Identity { kind: self.identity_kind(form), sequence: None, options: None });
        if identity.is_some() {
            self.check_identity(decl, column, ty);
        }
        let mut out = Column::new(&column.name, ty.clone());
        out.nullable = column.nullable;
        out.default = column.default.as_ref().map(|default| default.expr.clone());
        out.generated = column.generated.as_ref().map(|it| Generated { expr: it.expr.clone(), stored: it.stored });
        out.collation.clone_from(&column.collation);
        out.comment = column.comment.clone().filter(|_| self.dialect != Dialect::Sqlite);
        out.identity = identity;
        out
    }

    fn identity_kind(&self, form: IdentityDecl) -> IdentityKind {
        match (self.dialect, form) {
            (Dialect::Postgres, IdentityDecl::Always) => IdentityKind::Always,
            (Dialect::Postgres, IdentityDecl::Serial) => IdentityKind::Serial,
            (Dialect::Sqlite, IdentityDecl::Autoincrement) => IdentityKind::Autoincrement,
            _ => IdentityKind::ByDefault,
        }
    }

    fn check_identity(&mut self, decl: &TableDecl, column: &ColumnDecl, ty: &str) {
        let integers = ["smallint", "integer", "bigint", "int", "int2", "int4", "int8"];
        if !integers.contains(&ty.to_lowercase().as_str()) || column.nullable {
            let message = format!(
                "`identity` column `{}` is {}{ty}",
                column.name,
                if column.nullable { "nullable " } else { "" }
            );
            self.fail(decl, message, "an engine numbers columns of type `i16`, `i32` or `i64` that are never NULL");
        }
        let alone = decl.primary_key.as_ref().is_some_and(|key| key.columns == [column.name.clone()]);
        if self.dialect == Dialect::Sqlite && (!alone || decl.without_rowid) {
            let message = format!("SQLite cannot number `{}`", column.name);
            let help = "it numbers a column that alone is the primary key of a table with rowids";
            self.fail(decl, message, help);
        }
    }

    fn enumeration(&mut self, decl: &TableDecl, enumeration: &EnumDecl) {
        if self.dialect != Dialect::Postgres {
            return;
        }
        self.check_name(decl, "type", &enumeration.name);
        for value in &enumeration.values {
            self.check_name(decl, "enum label", value);
        }
        let name = object_name(self.dialect, enumeration.schema.as_deref(), &enumeration.name);
        let new = EnumType { name: name.clone(), values: enumeration.values.clone(), comment: None };
        if let Some(old) = &enumeration.renamed_from {
            match old.parse::<ObjectName>() {
                Ok(old) => {
                    let schema = old.schema.as_deref().or(name.schema.as_deref());
                    let old = object_name(self.dialect, schema, &old.name);
                    self.out.hints.renamed_types.insert(name.clone(), old);
                }
                Err(error) => self.fail(decl, format!("`renamed_from`: {error}"), "write the former name of the type"),
            }
        }
        for value in &enumeration.renamed_values {
            let key = (name.clone(), value.to.clone());
            self.out.hints.renamed_labels.insert(key, value.from.clone());
        }
        match self.out.schema.enums.get(&name) {
            Some(old) if *old != new => {
                let message = format!("type `{name}` is declared by two enums with different values");
                self.fail(decl, message, "give one of them another name");
            }
            _ => drop(self.out.schema.enums.insert(name, new)),
        }
    }

    fn checks(&mut self, table: &mut Table, decl: &TableDecl) {
        let enumerations = decl.columns.iter().filter(|_| self.dialect != Dialect::Postgres).filter_map(|column| {
            let labels = column.ty.enumeration.as_ref()?.values.iter();
            let labels = labels.map(|label| format!("'{}'", label.replace('\'', "''"))).collect::<Vec<_>>().join(", ");
            let expr = format!("{} IN ({labels})", identifier(&column.name));
            Some(CheckDecl { name: None, column: Some(column.name.clone()), expr })
        });
        let all: Vec<CheckDecl> = enumerations.chain(decl.checks.iter().cloned()).collect();
        for check in all {
            let name = match &check.name {
                Some(name) => {
                    self.check_name(decl, "constraint", name);
                    name.clone()
                }
                None => {
                    let mentioned = naming::mentioned(&check.expr, decl.columns.iter().map(|c| c.name.as_str()));
                    let column: Vec<&str> =
                        if mentioned.len() == 1 { mentioned.into_iter().collect() } else { Vec::new() };
                    self.names.constraint(&table.name, &column, "check")
                }
            };
            let value = Check { expr: check.expr, not_valid: false, no_inherit: false, comment: None };
            if table.checks.insert(name.clone(), value).is_some() {
                self.twice(decl, &name);
            }
        }
    }

    fn primary_key(&mut self, table: &mut Table, decl: &TableDecl) {
        let Some(key) = &decl.primary_key else { return };
        let name = match (self.dialect, &key.name) {
            (Dialect::Sqlite, _) => None,
            (_, Some(name)) => {
                self.check_name(decl, "constraint", name);
                Some(name.clone())
            }
            (_, None) => Some(self.names.index(&table.name, &[], "pkey", true)),
        };
        if self.dialect == Dialect::Sqlite
            && !decl.without_rowid
            && let [only] = key.columns.as_slice()
            && let Some(column) = table.column_mut(only)
            && column.ty.eq_ignore_ascii_case("integer")
            && column.identity.is_none()
        {
            // An INTEGER PRIMARY KEY is the rowid whether the struct says so or not.
            column.identity = Some(Identity { kind: IdentityKind::ByDefault, sequence: None, options: None });
        }
        if self.dialect == Dialect::Sqlite && key.deferrable != Deferrable::No {
            let message = format!("the primary key of `{}` cannot be deferrable on SQLite", table.name);
            self.fail(decl, message, "leave `deferrable` away");
        }
        table.primary_key =
            Some(PrimaryKey { deferrable: key.deferrable, ..PrimaryKey::over(name, key.columns.clone()) });
    }

    fn uniques(&mut self, table: &mut Table, decl: &TableDecl) {
        for unique in &decl.uniques {
            let columns: Vec<&str> = unique.columns.iter().map(String::as_str).collect();
            let name = match &unique.name {
                Some(name) => {
                    self.check_name(decl, "constraint", name);
                    name.clone()
                }
                None => self.names.index(&table.name, &columns, "key", true),
            };
            let taken = if self.dialect == Dialect::Sqlite {
                if unique.nulls_not_distinct || unique.deferrable != Deferrable::No {
                    let message =
                        format!("unique constraint `{name}` cannot be deferrable or NULLS NOT DISTINCT on SQLite");
                    self.fail(decl, message, "leave these away");
                }
                let parts = unique
                    .columns
                    .iter()
                    .map(|column| IndexPart { column: Some(column.clone()), ..IndexPart::default() });
                table.indexes.insert(name.clone(), plain_index(parts.collect(), true)).is_some()
            } else {
                let value = Unique {
                    columns: unique.columns.clone(),
                    include: Vec::new(),
                    nulls_not_distinct: unique.nulls_not_distinct,
                    deferrable: unique.deferrable,
                    comment: None,
                };
                table.uniques.insert(name.clone(), value).is_some()
            };
            if taken {
                self.twice(decl, &name);
            }
        }
    }

    fn index(&mut self, table: &mut Table, decl: &TableDecl, index: &IndexDecl) {
        let parts: Vec<IndexPart> = index
            .parts
            .iter()
            .map(|part| IndexPart {
                column: part.column.clone(),
                expr: part.expr.clone(),
                order: part.order,
                nulls: part.nulls,
                opclass: part.opclass.clone(),
                collation: part.collation.clone(),
            })
            .collect();
        let name = match &index.name {
            Some(name) => {
                self.check_name(decl, "index", name);
                name.clone()
            }
            None => {
                let columns = naming::index_columns(&parts, &index.include);
                let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
                self.names.index(&table.name, &columns, "idx", false)
            }
        };
        if self.dialect == Dialect::Sqlite {
            self.check_sqlite_index(decl, index, &name);
        }
        let mut lowered = plain_index(parts, index.unique);
        lowered.method = index.method.clone().filter(|method| !method.eq_ignore_ascii_case("btree"));
        lowered.include.clone_from(&index.include);
        lowered.predicate.clone_from(&index.predicate);
        lowered.nulls_not_distinct = index.nulls_not_distinct;
        if table.indexes.insert(name.clone(), lowered).is_some() {
            self.twice(decl, &name);
        }
    }

    fn check_sqlite_index(&mut self, decl: &TableDecl, index: &IndexDecl, name: &str) {
        let method = index.method.as_deref().is_some_and(|method| !method.eq_ignore_ascii_case("btree"));
        let nulls = index.parts.iter().any(|part| part.nulls.is_some());
        let opclass = index.parts.iter().any(|part| part.opclass.is_some());
        for (given, what) in [
            (method, "`method`"),
            (!index.include.is_empty(), "`include`"),
            (index.nulls_not_distinct, "`nulls_not_distinct`"),
            (nulls, "`nulls_first` and `nulls_last`"),
            (opclass, "`opclass`"),
        ] {
            if given {
                self.fail(decl, format!("index `{name}` uses {what}, which SQLite does not have"), "leave it away");
            }
        }
    }

    fn twice(&mut self, decl: &TableDecl, name: &str) {
        self.fail(decl, format!("the name `{name}` is given to two constraints or indexes"), "give one another name");
    }

    fn foreign_keys(&mut self, name: &ObjectName, decl: &TableDecl) {
        for key in &decl.foreign_keys {
            let Some(first) = key.references.first() else { continue };
            let target = object_name(self.dialect, first.schema.as_deref(), &first.table);
            let columns: Vec<&str> = key.columns.iter().map(String::as_str).collect();
            let constraint = match &key.name {
                Some(name) => {
                    self.check_name(decl, "constraint", name);
                    name.clone()
                }
                None => self.names.constraint(name, &columns, "fkey"),
            };
            let ref_columns: Vec<String> = key.references.iter().map(|to| to.column.clone()).collect();
            self.check_target(decl, &constraint, &target, &ref_columns);
            let lowered = ForeignKey {
                columns: key.columns.clone(),
                ref_table: target,
                ref_columns,
                on_delete: key.on_delete,
                on_delete_columns: Vec::new(),
                on_update: key.on_update,
                match_full: false,
                deferrable: key.deferrable,
                not_valid: false,
                comment: None,
            };
            let table = self.out.schema.tables.get_mut(name);
            if table.is_some_and(|table| {
                table.checks.contains_key(&constraint)
                    || table.foreign_keys.insert(constraint.clone(), lowered).is_some()
            }) {
                self.twice(decl, &constraint);
            }
        }
    }

    fn check_target(&mut self, decl: &TableDecl, constraint: &str, target: &ObjectName, columns: &[String]) {
        let Some(table) = self.out.schema.tables.get(target) else {
            let message =
                format!("foreign key `{constraint}` references table `{target}`, which is not in the artifact");
            self.fail(decl, message, "its struct must be linked in: use something of the crate that declares it");
            return;
        };
        let wanted: BTreeSet<&String> = columns.iter().collect();
        let same = |key: &[String]| key.len() == wanted.len() && key.iter().all(|column| wanted.contains(column));
        let by_key = table.primary_key.as_ref().is_some_and(|key| same(&key.columns));
        let by_unique =
            table.uniques.values().any(|unique| same(&unique.columns) && unique.deferrable == Deferrable::No);
        let by_index = table.indexes.values().any(|index| {
            let columns: Option<Vec<String>> = index.parts.iter().map(|part| part.column.clone()).collect();
            index.unique && index.predicate.is_none() && columns.is_some_and(|columns| same(&columns))
        });
        if !(by_key || by_unique || by_index) {
            let list = columns.join(", ");
            let message = format!("foreign key `{constraint}` references `{target}` ({list}), which is not unique");
            self.fail(decl, message, "reference the primary key, or make the referenced columns `unique`");
        }
    }

    fn hints(&mut self, name: &ObjectName, decl: &TableDecl) {
        let hints = &mut self.out.hints;
        hints.locations.insert(name.clone(), decl.location.clone());
        let old = decl.renamed_from.as_ref().and_then(|old| old.parse::<ObjectName>().ok());
        let tables: Vec<&str> = old.iter().chain([name]).map(|table| table.name.as_str()).collect();
        for column in &decl.columns {
            let key = || (name.clone(), column.name.clone());
            if let Some(old) = &column.renamed_from {
                hints.renamed_columns.insert(key(), old.clone());
            }
            if let Some(text) = &column.backfill {
                hints.backfills.insert(key(), expr::bare(text, &tables));
            }
            if let Some(call) = &column.backfill_with {
                hints.backfills_with.insert(key(), call.clone());
            }
        }
        let Some(old) = &decl.renamed_from else { return };
        match old.parse::<ObjectName>() {
            Ok(old) => {
                let schema = old.schema.as_deref().or(name.schema.as_deref());
                let old = object_name(self.dialect, schema, &old.name);
                hints.renamed_tables.insert(name.clone(), old);
            }
            Err(error) => self.fail(decl, format!("`renamed_from`: {error}"), "write the former name of the table"),
        }
    }
}

fn plain_index(parts: Vec<IndexPart>, unique: bool) -> Index {
    Index {
        parts,
        unique,
        method: None,
        include: Vec::new(),
        predicate: None,
        nulls_not_distinct: false,
        with: BTreeMap::new(),
        invalid: false,
        constraint: false,
        comment: None,
    }
}

/// A column inside an expression of ours.
fn identifier(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}
