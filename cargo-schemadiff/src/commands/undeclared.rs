//! What structs have no way to say of the tables that they declare: exclusion constraints, options of a numbering, comments on
//! constraints, storage parameters, types that others made. As the other side has it, so it stays; it is listed.

use std::collections::BTreeMap;

use schemadiff::model::{Column, EnumType, ForeignKey, Index, ObjectName, Opaque, Schema, Table, Unique, expr};

use crate::diff::Hints;

/// Gives `declared` what its structs cannot say, as it stands in `there`. `known` is what the migrations say: a constraint that
/// they have proven is not left unproven.
///
/// Returns what is kept, to be listed.
pub fn keep(declared: &mut Schema, there: &Schema, hints: &Hints, known: Option<&Schema>) -> Vec<Opaque> {
    let mut list = Vec::new();
    for (name, table) in &mut declared.tables {
        let old = hints.renamed_tables.get(name).filter(|_| !there.tables.contains_key(name)).unwrap_or(name);
        let Some(was) = there.table(old) else { continue };
        let renamed = Renamed { table, was, hints };
        let columns: BTreeMap<String, String> = table.columns.iter().map(|c| renamed.pair(c)).collect();
        let was = under_new_names(was, &columns);
        let mut kept = Kept { of: name.clone(), list: &mut list };
        kept.table(table, &was, known.and_then(|known| known.table(old)));
    }
    for (name, domain) in &there.domains {
        // Structs declare none, they only use them.
        declared.domains.entry(name.clone()).or_insert_with(|| domain.clone());
    }
    for (name, enumeration) in &mut declared.enums {
        if let Some(was) = there.enums.get(name) {
            enumeration.comment.clone_from(&was.comment);
        }
    }
    let used: Vec<EnumType> = there.enums.values().filter(|it| is_used(declared, &it.name)).cloned().collect();
    for enumeration in used {
        declared.enums.entry(enumeration.name.clone()).or_insert(enumeration);
    }
    list
}

/// Takes the types out of both schemas that are nobody's business here: neither structs nor migrations know them, and no
/// table that is looked at uses them.
///
/// Returns them, to be listed.
pub fn leave_types(declared: &mut Schema, there: &mut Schema, known: Option<&Schema>) -> Vec<Opaque> {
    let used = |name: &ObjectName| is_used(there, name) || is_used(declared, name);
    let is_known = |name: &ObjectName| known.is_some_and(|known| known.enums.contains_key(name));
    let enums: Vec<_> = there.enums.keys().filter(|name| !is_known(name) && !used(name)).cloned().collect();
    let domains: Vec<_> = there.domains.keys().filter(|name| !used(name)).cloned().collect();
    let enums: Vec<_> = enums.into_iter().filter(|name| !declared.enums.contains_key(name)).collect();
    for name in &domains {
        declared.domains.remove(name);
    }
    there.enums.retain(|name, _| !enums.contains(name));
    there.domains.retain(|name, _| !domains.contains(name));
    let list = |kind: &'static str| move |name: &ObjectName| left_alone(kind, shown(name), None);
    enums.iter().map(list("enum")).chain(domains.iter().map(list("domain"))).collect()
}

fn is_used(schema: &Schema, ty: &ObjectName) -> bool {
    schema.tables.values().flat_map(|table| &table.columns).any(|column| ty.is_type(column.ty.trim_end_matches("[]")))
}

/// The name with its database schema, as a person would write it.
fn shown(name: &ObjectName) -> String {
    format!("{}.{}", name.schema.as_deref().unwrap_or("public"), name.name)
}

fn left_alone(kind: &str, name: String, table: Option<ObjectName>) -> Opaque {
    let reason = "structs do not declare it, it is kept as it is".to_owned();
    Opaque { kind: kind.to_owned(), name, reason, table, definition: None }
}

/// A declared table beside what it was.
struct Renamed<'t> {
    table: &'t Table,
    was: &'t Table,
    hints: &'t Hints,
}

impl Renamed<'_> {
    /// Old and new name of a declared column.
    fn pair(&self, column: &Column) -> (String, String) {
        let said = self.hints.renamed_columns.get(&(self.table.name.clone(), column.name.clone()));
        let old = said.filter(|old| self.was.column(old).is_some() && self.was.column(&column.name).is_none());
        (old.unwrap_or(&column.name).clone(), column.name.clone())
    }
}

/// What is kept of the table, with its columns under their new names.
fn under_new_names(was: &Table, columns: &BTreeMap<String, String>) -> Table {
    let mut now = was.clone();
    let new = |name: &String| columns.get(name).cloned().unwrap_or_else(|| name.clone());
    for column in &mut now.columns {
        column.name = new(&column.name);
    }
    let keys = now.primary_key.iter_mut().map(|key| (&mut key.columns, &mut key.include));
    for (key, include) in keys.chain(now.uniques.values_mut().map(|key| (&mut key.columns, &mut key.include))) {
        key.iter_mut().chain(include).for_each(|name| *name = new(name));
    }
    for key in now.foreign_keys.values_mut() {
        key.columns.iter_mut().chain(&mut key.on_delete_columns).for_each(|name| *name = new(name));
    }
    for exclusion in now.exclusions.values_mut() {
        exclusion.definition = expr::map_columns(&exclusion.definition, |name| columns.get(name).cloned());
    }
    now
}

/// What was kept so far.
struct Kept<'l> {
    /// The table that is looked at.
    of: ObjectName,
    list: &'l mut Vec<Opaque>,
}

impl Kept<'_> {
    fn note(&mut self, what: &str, name: &str) {
        self.list.push(left_alone(what, format!("{}.{name}", shown(&self.of)), Some(self.of.clone())));
    }

    /// Takes the value over, and lists it when there is one.
    fn take<T: PartialEq + Clone + Default>(&mut self, slot: &mut T, was: &T, what: &str, name: &str) {
        if *slot == T::default() && *was != T::default() {
            slot.clone_from(was);
            self.note(what, name);
        }
    }

    fn table(&mut self, table: &mut Table, was: &Table, known: Option<&Table>) {
        if table.options.with.is_empty() && !was.options.with.is_empty() {
            table.options.with.clone_from(&was.options.with);
            self.list.push(left_alone("storage parameters", shown(&self.of), Some(self.of.clone())));
        }
        for column in &mut table.columns {
            self.numbering(column, was);
        }
        if let (Some(key), Some(was)) = (&mut table.primary_key, &was.primary_key) {
            self.take(&mut key.comment, &was.comment, "comment on constraint", "primary key");
            if key.columns == was.columns {
                self.take(&mut key.include, &was.include, "INCLUDE", "primary key");
            }
        }
        for (name, unique) in &mut table.uniques {
            if let Some(was) = counterpart(name, unique, &was.uniques, same_unique) {
                self.take(&mut unique.comment, &was.comment, "comment on constraint", name);
                if unique.columns == was.columns {
                    self.take(&mut unique.include, &was.include, "INCLUDE", name);
                }
            }
        }
        for (name, check) in &mut table.checks {
            if let Some(was) = counterpart(name, check, &was.checks, |a, b| a.expr == b.expr) {
                self.take(&mut check.comment, &was.comment, "comment on constraint", name);
                if check.expr == was.expr {
                    self.take(&mut check.no_inherit, &was.no_inherit, "NO INHERIT", name);
                    let is_proven = known.and_then(|known| known.checks.get(name)).is_some_and(|it| !it.not_valid);
                    self.take(&mut check.not_valid, &(was.not_valid && !is_proven), "NOT VALID", name);
                }
            }
        }
        for (name, key) in &mut table.foreign_keys {
            if let Some(was) = counterpart(name, key, &was.foreign_keys, same_foreign_key) {
                let is_proven = known.and_then(|known| known.foreign_keys.get(name)).is_some_and(|it| !it.not_valid);
                self.foreign_key(name, key, was, is_proven);
            }
        }
        for (name, index) in &mut table.indexes {
            if let Some(was) = counterpart(name, index, &was.indexes, same_index) {
                self.take(&mut index.comment, &was.comment, "comment on index", name);
                self.take(&mut index.with, &was.with, "storage parameters", name);
            }
        }
        for (name, exclusion) in &was.exclusions {
            // One over a column that goes, goes with it.
            let stays = was.columns.iter().all(|column| {
                table.column(&column.name).is_some() || !expr::mentions(&exclusion.definition, &column.name)
            });
            if stays && !table.exclusions.contains_key(name) {
                table.exclusions.insert(name.clone(), exclusion.clone());
                self.note("exclusion constraint", name);
            }
        }
    }

    /// Options of a sequence go with its type: a column of another type is numbered anew.
    fn numbering(&mut self, column: &mut Column, was: &Table) {
        let Some(was) = was.column(&column.name).filter(|was| was.ty == column.ty) else { return };
        let (Some(identity), Some(old)) = (&mut column.identity, &was.identity) else { return };
        if identity.kind == old.kind {
            self.take(&mut identity.sequence, &old.sequence, "name of the sequence", &column.name);
            self.take(&mut identity.options, &old.options, "options of the sequence", &column.name);
        }
    }

    fn foreign_key(&mut self, name: &str, key: &mut ForeignKey, was: &ForeignKey, is_proven: bool) {
        self.take(&mut key.comment, &was.comment, "comment on constraint", name);
        if key.columns != was.columns {
            return;
        }
        self.take(&mut key.match_full, &was.match_full, "MATCH FULL", name);
        if key.on_delete == was.on_delete {
            self.take(&mut key.on_delete_columns, &was.on_delete_columns, "columns of ON DELETE", name);
        }
        if same_foreign_key(key, was) {
            self.take(&mut key.not_valid, &(was.not_valid && !is_proven), "NOT VALID", name);
        }
    }
}

/// What it is there: of the same name, or of the same meaning under a name that is not declared.
fn counterpart<'t, T>(
    name: &str,
    declared: &T,
    there: &'t BTreeMap<String, T>,
    same: impl Fn(&T, &T) -> bool,
) -> Option<&'t T> {
    there.get(name).or_else(|| there.values().find(|was| same(declared, was)))
}

fn same_unique(a: &Unique, b: &Unique) -> bool {
    a.columns == b.columns && a.nulls_not_distinct == b.nulls_not_distinct && a.deferrable == b.deferrable
}

fn same_foreign_key(a: &ForeignKey, b: &ForeignKey) -> bool {
    a.columns == b.columns
        && a.ref_columns == b.ref_columns
        && a.ref_table == b.ref_table
        && (a.on_delete, a.on_update, a.deferrable) == (b.on_delete, b.on_update, b.deferrable)
}

fn same_index(a: &Index, b: &Index) -> bool {
    let bare = |index: &Index| Index { with: BTreeMap::new(), comment: None, ..index.clone() };
    bare(a) == bare(b)
}
