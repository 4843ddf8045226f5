//! Reads a table or index out of the statement that SQLite keeps of it.
//!
//! What the model cannot hold is an `Err` with the reason: such a table is listed and left alone, never read in part.

use std::collections::BTreeMap;

use schemadiff::model::{
    Check, Column, Deferrable, FkAction, ForeignKey, Generated, Identity, IdentityKind, Index, IndexPart, ObjectName,
    PrimaryKey, SortOrder, Table,
};

use super::{
    create::is_rowid_alias,
    cursor::{Cursor, Reason},
    expr,
    lexer::Kind,
    render::default_name,
};

/// The words for a construct that has no place in the model.
const CONFLICT_CLAUSE: &str = "ON CONFLICT clauses are not supported";

/// Reads `CREATE TABLE`. Foreign keys that name no columns come with an empty `ref_columns`. Expressions are still as
/// they were written.
pub(super) fn table(name: &str, sql: &str) -> Result<Table, Reason> {
    let mut cursor = Cursor::new(sql).map_err(|e| e.to_string())?;
    cursor.expect("CREATE")?;
    cursor.expect("TABLE")?;
    cursor.name()?;
    let mut reader = TableReader {
        table: Table::new(ObjectName::new(name)),
        checks: Vec::new(),
        foreign_keys: Vec::new(),
        key_is_automatic: false,
    };
    cursor.expect_symbol("(")?;
    loop {
        reader.element(&mut cursor)?;
        // A comma may be left out between table constraints.
        if !cursor.take_symbol(",") && cursor.sees_symbol(")") {
            break;
        }
    }
    cursor.expect_symbol(")")?;
    while !cursor.at_end() {
        if cursor.take(&["WITHOUT", "ROWID"]) {
            reader.table.options.without_rowid = true;
        } else if cursor.take(&["STRICT"]) {
            reader.table.options.strict = true;
        } else if !cursor.take_symbol(",") {
            return Err(cursor.unexpected());
        }
    }
    reader.finish()
}

struct TableReader {
    table: Table,
    /// Constraint name and condition.
    checks: Vec<(Option<String>, String)>,
    foreign_keys: Vec<(Option<String>, ForeignKey)>,
    key_is_automatic: bool,
}

impl TableReader {
    fn element(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Reason> {
        let constraint = if cursor.take(&["CONSTRAINT"]) { Some(cursor.name()?) } else { None };
        let follows = cursor.peek_second();
        let before_list = follows.is_some_and(|t| t.is_symbol("("));
        if cursor.sees("PRIMARY") && follows.is_some_and(|t| t.is("KEY")) {
            cursor.take(&["PRIMARY", "KEY"]);
            return self.primary_key(cursor);
        } else if cursor.sees("UNIQUE") && before_list {
            cursor.take(&["UNIQUE"]);
            return self.unique(constraint, cursor);
        } else if cursor.sees("CHECK") && before_list {
            cursor.take(&["CHECK"]);
            let expr = cursor.parenthesized()?;
            no_conflict_clause(cursor)?;
            self.checks.push((constraint, expr.to_owned()));
            return Ok(());
        } else if cursor.sees("FOREIGN") && follows.is_some_and(|t| t.is("KEY")) {
            cursor.take(&["FOREIGN", "KEY"]);
            let columns = cursor.name_list()?;
            cursor.expect("REFERENCES")?;
            return self.references(constraint, columns, cursor);
        } else if constraint.is_some() {
            return Err(cursor.unexpected());
        }
        self.column(cursor)
    }

    fn column(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Reason> {
        let name = cursor.name()?;
        let mut column = Column { nullable: true, ..Column::new(&name, cursor.type_name()?) };
        let mut constraint = None;
        while !(cursor.sees_symbol(",") || cursor.sees_symbol(")")) {
            if cursor.take(&["CONSTRAINT"]) {
                constraint = Some(cursor.name()?);
                continue;
            }
            self.column_constraint(&mut column, constraint.take(), cursor)?;
        }
        self.table.columns.push(column);
        Ok(())
    }

    fn column_constraint(
        &mut self,
        column: &mut Column,
        constraint: Option<String>,
        cursor: &mut Cursor<'_>,
    ) -> Result<(), Reason> {
        if cursor.take(&["NOT", "NULL"]) {
            column.nullable = false;
            no_conflict_clause(cursor)
        } else if cursor.take(&["NULL"]) {
            no_conflict_clause(cursor)
        } else if cursor.take(&["PRIMARY", "KEY"]) {
            self.column_primary_key(column, cursor)
        } else if cursor.take(&["UNIQUE"]) {
            let part = IndexPart { column: Some(column.name.clone()), ..IndexPart::default() };
            self.add_unique(constraint, vec![part]);
            no_conflict_clause(cursor)
        } else if cursor.take(&["CHECK"]) {
            let expr = cursor.parenthesized()?;
            no_conflict_clause(cursor)?;
            self.checks.push((constraint, expr.to_owned()));
            Ok(())
        } else if cursor.take(&["DEFAULT"]) {
            column.default = Some(default(cursor)?);
            Ok(())
        } else if cursor.take(&["COLLATE"]) {
            column.collation = Some(cursor.name()?);
            Ok(())
        } else if cursor.take(&["REFERENCES"]) {
            self.references(constraint, vec![column.name.clone()], cursor)
        } else if cursor.take(&["GENERATED", "ALWAYS", "AS"]) || cursor.take(&["AS"]) {
            let expr = cursor.parenthesized()?.to_owned();
            let stored = cursor.take(&["STORED"]);
            if !stored {
                cursor.take(&["VIRTUAL"]);
            }
            column.generated = Some(Generated { expr, stored });
            Ok(())
        } else {
            Err(cursor.unexpected())
        }
    }

    fn column_primary_key(&mut self, column: &Column, cursor: &mut Cursor<'_>) -> Result<(), Reason> {
        if cursor.take(&["DESC"]) {
            return Err("a descending primary key is not supported".to_owned());
        }
        cursor.take(&["ASC"]);
        no_conflict_clause(cursor)?;
        self.key_is_automatic |= cursor.take(&["AUTOINCREMENT"]);
        self.table.primary_key = Some(PrimaryKey::over(None, vec![column.name.clone()]));
        Ok(())
    }

    fn primary_key(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Reason> {
        cursor.expect_symbol("(")?;
        let mut columns = Vec::new();
        loop {
            columns.push(cursor.name()?);
            cursor.take(&["ASC"]);
            self.key_is_automatic |= cursor.take(&["AUTOINCREMENT"]);
            if cursor.sees("COLLATE") || cursor.sees("DESC") {
                return Err("a primary key with its own collation or order is not supported".to_owned());
            }
            if !cursor.take_symbol(",") {
                break;
            }
        }
        cursor.expect_symbol(")")?;
        self.table.primary_key = Some(PrimaryKey::over(None, columns));
        no_conflict_clause(cursor)
    }

    fn unique(&mut self, constraint: Option<String>, cursor: &mut Cursor<'_>) -> Result<(), Reason> {
        let parts = index_parts(cursor)?;
        if parts.iter().any(|part| part.column.is_none()) {
            return Err("a UNIQUE constraint over an expression is not supported".to_owned());
        }
        self.add_unique(constraint, parts);
        no_conflict_clause(cursor)
    }

    fn add_unique(&mut self, constraint: Option<String>, parts: Vec<IndexPart>) {
        let index = Index { parts, unique: true, constraint: true, ..Index::default() };
        // SQLite makes one index of two equal constraints.
        if self.table.indexes.values().any(|other| *other == index) {
            return;
        }
        let columns: Vec<_> = index.parts.iter().filter_map(|p| p.column.as_deref()).collect();
        let wanted = constraint.unwrap_or_else(|| default_name(&self.table.name.name, &columns, "key"));
        let name = free_name(&self.table.indexes, wanted);
        self.table.indexes.insert(name, index);
    }

    /// What stands behind REFERENCES.
    fn references(
        &mut self,
        constraint: Option<String>,
        columns: Vec<String>,
        cursor: &mut Cursor<'_>,
    ) -> Result<(), Reason> {
        let mut key = ForeignKey {
            columns,
            ref_table: ObjectName::new(cursor.name()?),
            ref_columns: if cursor.sees_symbol("(") { cursor.name_list()? } else { Vec::new() },
            on_delete: FkAction::NoAction,
            on_delete_columns: Vec::new(),
            on_update: FkAction::NoAction,
            match_full: false,
            deferrable: Deferrable::No,
            not_valid: false,
            comment: None,
        };
        loop {
            if cursor.take(&["ON", "DELETE"]) {
                key.on_delete = action(cursor)?;
            } else if cursor.take(&["ON", "UPDATE"]) {
                key.on_update = action(cursor)?;
            } else if cursor.take(&["MATCH", "FULL"]) {
                key.match_full = true;
            } else if !cursor.take(&["MATCH", "SIMPLE"]) {
                break;
            }
        }
        if cursor.take(&["NOT", "DEFERRABLE"]) {
            // `NOT DEFERRABLE INITIALLY DEFERRED` is accepted, and not deferred.
            if cursor.take(&["INITIALLY"]) {
                cursor.next()?;
            }
        } else if cursor.take(&["DEFERRABLE"]) {
            let deferred = cursor.take(&["INITIALLY", "DEFERRED"]);
            cursor.take(&["INITIALLY", "IMMEDIATE"]);
            key.deferrable = if deferred { Deferrable::Deferred } else { Deferrable::Immediate };
        }
        self.foreign_keys.push((constraint, key));
        Ok(())
    }

    fn finish(self) -> Result<Table, Reason> {
        let Self { mut table, checks, foreign_keys, key_is_automatic } = self;
        let names: Vec<String> = table.columns.iter().map(|c| c.name.clone()).collect();
        for (constraint, expr) in checks {
            let columns: Vec<_> = expr::mentioned(&expr, &names).into_iter().map(String::as_str).collect();
            let columns = if columns.len() == 1 { columns } else { Vec::new() };
            let wanted = constraint.unwrap_or_else(|| default_name(&table.name.name, &columns, "check"));
            let name = free_name(&table.checks, wanted);
            table.checks.insert(name, Check { expr, not_valid: false, no_inherit: false, comment: None });
        }
        for (constraint, key) in foreign_keys {
            let columns: Vec<_> = key.columns.iter().map(String::as_str).collect();
            let wanted = constraint.unwrap_or_else(|| default_name(&table.name.name, &columns, "fkey"));
            let name = free_name(&table.foreign_keys, wanted);
            table.foreign_keys.insert(name, key);
        }
        settle_names(&mut table)?;
        let key = table.primary_key.as_ref().map(|key| key.columns.clone()).unwrap_or_default();
        let alias = table.columns.iter().position(|column| is_rowid_alias(&table, column));
        // A primary key only forbids NULL where SQLite's early mistake was mended.
        let forbids_null = table.options.strict || table.options.without_rowid;
        for (at, column) in table.columns.iter_mut().enumerate() {
            if alias == Some(at) {
                let kind = if key_is_automatic { IdentityKind::Autoincrement } else { IdentityKind::ByDefault };
                column.identity = Some(Identity { kind, sequence: None, options: None });
            }
            if alias == Some(at) || forbids_null && key.contains(&column.name) {
                column.nullable = false;
            }
        }
        Ok(table)
    }
}

/// Names of columns in keys, in the spelling of the column.
fn settle_names(table: &mut Table) -> Result<(), Reason> {
    let names: Vec<String> = table.columns.iter().map(|c| c.name.clone()).collect();
    let settle = |name: &mut String| -> Result<(), Reason> {
        let found = names.iter().find(|c| c.eq_ignore_ascii_case(name));
        found.ok_or_else(|| format!("a key names the column `{name}`, which it does not have"))?.clone_into(name);
        Ok(())
    };
    let in_keys = table.primary_key.iter_mut().flat_map(|key| &mut key.columns);
    let in_references = table.foreign_keys.values_mut().flat_map(|key| &mut key.columns);
    in_keys.chain(in_references).try_for_each(settle)?;
    let parts = table.indexes.values_mut().flat_map(|index| &mut index.parts);
    parts.filter_map(|part| part.column.as_mut()).try_for_each(settle)
}

/// Reads `CREATE INDEX` on a table whose columns are known. Expressions are still as they were written.
pub(super) fn index(sql: &str, columns: &[Column]) -> Result<Index, Reason> {
    let mut cursor = Cursor::new(sql).map_err(|e| e.to_string())?;
    cursor.expect("CREATE")?;
    let unique = cursor.take(&["UNIQUE"]);
    cursor.expect("INDEX")?;
    cursor.name()?;
    cursor.expect("ON")?;
    cursor.name()?;
    let mut parts = index_parts(&mut cursor)?;
    for part in &mut parts {
        let found = |name: &str| columns.iter().find(|c| c.name.eq_ignore_ascii_case(name));
        if let Some(name) = part.column.take() {
            match found(&name) {
                Some(column) => part.column = Some(column.name.clone()),
                None => return Err(format!("an index names `{name}`, which is no column")),
            }
        }
    }
    let predicate = cursor.take(&["WHERE"]).then(|| cursor.rest().to_owned());
    if !cursor.at_end() {
        return Err(cursor.unexpected());
    }
    Ok(Index { parts, unique, predicate, ..Index::default() })
}

fn index_parts(cursor: &mut Cursor<'_>) -> Result<Vec<IndexPart>, Reason> {
    cursor.expect_symbol("(")?;
    let mut parts = vec![index_part(cursor.until_comma_or_close()?)?];
    while cursor.take_symbol(",") {
        parts.push(index_part(cursor.until_comma_or_close()?)?);
    }
    cursor.expect_symbol(")")?;
    Ok(parts)
}

/// `name` or expression, then `COLLATE`, order and place of NULLs.
fn index_part(text: &str) -> Result<IndexPart, Reason> {
    let mut part = IndexPart::default();
    let mut tokens = super::lexer::tokens(text).map_err(|e| e.to_string())?;
    // SQLite only takes the order of NULLs that an index has anyway.
    if let [.., nulls, place] = tokens.as_slice()
        && nulls.is("NULLS")
        && (place.is("FIRST") || place.is("LAST"))
    {
        tokens.truncate(tokens.len() - 2);
    }
    if let Some(order) = tokens.last().filter(|t| tokens.len() > 1 && (t.is("ASC") || t.is("DESC"))) {
        part.order = if order.is("DESC") { SortOrder::Desc } else { SortOrder::Asc };
        tokens.pop();
    }
    if let [.., collate, name] = tokens.as_slice()
        && collate.is("COLLATE")
    {
        part.collation = name.name();
        tokens.truncate(tokens.len() - 2);
    }
    let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else {
        return Err("an index has an empty part".to_owned());
    };
    match (tokens.len(), first.name()) {
        (1, Some(name)) if first.kind != Kind::Text => part.column = Some(name),
        _ => part.expr = Some(text[first.at..last.end()].to_owned()),
    }
    Ok(part)
}

fn no_conflict_clause(cursor: &Cursor<'_>) -> Result<(), Reason> {
    let clause = cursor.sees("ON") && cursor.peek_second().is_some_and(|t| t.is("CONFLICT"));
    if clause { Err(CONFLICT_CLAUSE.to_owned()) } else { Ok(()) }
}

fn default(cursor: &mut Cursor<'_>) -> Result<String, Reason> {
    if cursor.sees_symbol("(") {
        return Ok(cursor.parenthesized()?.to_owned());
    }
    let first = cursor.next()?;
    if first.is_symbol("-") || first.is_symbol("+") {
        return Ok(format!("{}{}", first.text, cursor.next()?.text));
    }
    Ok(first.text.to_owned())
}

fn action(cursor: &mut Cursor<'_>) -> Result<FkAction, Reason> {
    let actions = [
        (["NO", "ACTION"].as_slice(), FkAction::NoAction),
        (&["RESTRICT"], FkAction::Restrict),
        (&["CASCADE"], FkAction::Cascade),
        (&["SET", "NULL"], FkAction::SetNull),
        (&["SET", "DEFAULT"], FkAction::SetDefault),
    ];
    let found = actions.into_iter().find(|(words, _)| cursor.take(words));
    found.map(|(_, action)| action).ok_or_else(|| cursor.unexpected())
}

/// The name, with a number behind it when another one has it already.
fn free_name<T>(taken: &BTreeMap<String, T>, wanted: String) -> String {
    if !taken.contains_key(&wanted) {
        return wanted;
    }
    let numbered = (1..).map(|n| format!("{wanted}{n}"));
    numbered.into_iter().find(|name| !taken.contains_key(name)).unwrap_or(wanted)
}
