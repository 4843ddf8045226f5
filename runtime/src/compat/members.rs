//! Constraints and indexes: which of them code that runs would miss, and which it would run into.
//!
//! Everything is compared by definition and in the code's own column names, never by constraint name: a copy of a
//! unique key on a synced column refuses nothing new to the code that knows the other column of the pair.

use std::collections::BTreeSet;

use super::{Reason, given, is_not_null_check};
use crate::model::{Check, Deferrable, Dialect, Index, Schema, Table, expr, implies};

/// Reports what `base` enforces and `declared` does not declare, and what `declared` declares and `base` lacks.
pub(super) fn compare(
    dialect: Dialect,
    state: &Schema,
    base: &Table,
    declared: &Table,
    in_base: impl Fn(&str) -> Option<String>,
    reasons: &mut Vec<Reason>,
) {
    let direct = CodeNames::direct(declared, in_base);
    let names = direct.with_pairs(base);
    checks(dialect, base, declared, &names, reasons);
    foreign_keys(state, base, declared, &names, reasons);
    keys(base, declared, &direct, &names, reasons);
    given::compare(dialect, base, declared, &names, reasons);
}

/// How the code calls the columns of a table.
pub(super) struct CodeNames {
    /// Pairs of (name in the table, name in the code).
    pairs: Vec<(String, String)>,
}

impl CodeNames {
    /// The columns that the code itself names.
    fn direct(declared: &Table, in_base: impl Fn(&str) -> Option<String>) -> Self {
        let named = declared.columns.iter().filter_map(|c| Some((in_base(&c.name)?, c.name.clone())));
        Self { pairs: named.collect() }
    }

    /// Also the other columns of synced pairs: what the code writes to one is written to the other.
    fn with_pairs(&self, base: &Table) -> Self {
        let mut pairs = self.pairs.clone();
        for sync in base.syncs.values() {
            // Both columns of a pair hold one value: what is said of one is said of the other.
            let [a, b] = sync.fills.as_slice() else { continue };
            for (known, other) in [(a, b), (b, a)] {
                let name = pairs.iter().find(|(real, _)| real == known).map(|(_, name)| name.clone());
                if let Some(name) = name.filter(|_| !pairs.iter().any(|(real, _)| real == other)) {
                    pairs.push((other.clone(), name));
                }
            }
        }
        Self { pairs }
    }

    pub(super) fn of(&self, real: &str) -> Option<&str> {
        self.pairs.iter().find(|(r, _)| r == real).map(|(_, name)| name.as_str())
    }

    fn of_all(&self, real: &[String]) -> Option<Vec<String>> {
        real.iter().map(|c| self.of(c).map(str::to_owned)).collect()
    }

    /// The expression in the code's names; `None` when it mentions a column that the code does not know.
    fn of_expr(&self, base: &Table, text: &str) -> Option<String> {
        let unknown = |c: &crate::model::Column| self.of(&c.name).is_none() && expr::mentions(text, &c.name);
        if base.columns.iter().any(unknown) {
            return None;
        }
        Some(expr::map_columns(text, |name| self.of(name).map(str::to_owned)))
    }
}

fn checks(dialect: Dialect, base: &Table, declared: &Table, names: &CodeNames, reasons: &mut Vec<Reason>) {
    if base.partition_of.is_some() && declared.partition_of.is_none() {
        let constraint = "the bounds of the partition".to_owned();
        reasons.push(Reason::Constrained { table: declared.name.clone(), constraint });
    }
    for (name, check) in &base.checks {
        if let Some(column) = base.columns.iter().find(|c| is_not_null_check(&check.expr, &c.name)) {
            let known = names.of(&column.name).and_then(|known| declared.column(known));
            if let Some(known) = known.filter(|known| known.nullable && !base.is_synced(&column.name)) {
                let reason = Reason::RefusesNull { table: declared.name.clone(), column: known.name.clone() };
                push_once(reasons, reason);
            }
            continue;
        }
        let Some(condition) = names.of_expr(base, &check.expr) else { continue };
        if !declared.checks.values().any(|c: &Check| implies(dialect, &declared.columns, &c.expr, &condition)) {
            reasons.push(Reason::Constrained { table: declared.name.clone(), constraint: name.clone() });
        }
    }
}

fn push_once(reasons: &mut Vec<Reason>, reason: Reason) {
    if !reasons.contains(&reason) {
        reasons.push(reason);
    }
}

fn foreign_keys(state: &Schema, base: &Table, declared: &Table, names: &CodeNames, reasons: &mut Vec<Reason>) {
    for (name, key) in &base.foreign_keys {
        let Some(columns) = names.of_all(&key.columns) else { continue };
        let same_target = |table: &_| {
            *table == key.ref_table || state.compat_views.get(table).is_some_and(|view| view.table == key.ref_table)
        };
        let sets = names.of_all(&key.on_delete_columns);
        // What happens to the children is part of what the code relies on, and so is what a transaction may do before it is
        // held to the key.
        let same = |k: &crate::model::ForeignKey| {
            let actions = (k.on_delete, k.on_update) == (key.on_delete, key.on_update);
            let no_stricter = k.deferrable <= key.deferrable && (k.match_full || !key.match_full);
            k.columns == columns
                && same_target(&k.ref_table)
                && actions
                && sets.as_ref() == Some(&k.on_delete_columns)
                && no_stricter
        };
        if !declared.foreign_keys.values().any(same) {
            reasons.push(Reason::Constrained { table: declared.name.clone(), constraint: name.clone() });
        }
    }
}

/// What an index, a unique constraint or a primary key is over, in the code's names.
#[derive(PartialEq, Eq)]
struct Key {
    parts: Vec<String>,
    predicate: Option<String>,
    unique: bool,
    usable: bool,
    nulls_not_distinct: bool,
    deferrable: Deferrable,
}

impl Key {
    fn of_index(base: &Table, index: &Index, names: &CodeNames) -> Option<Self> {
        let part = |p: &crate::model::IndexPart| match (&p.column, &p.expr) {
            (Some(column), _) => names.of(column).map(str::to_owned),
            (None, Some(text)) => names.of_expr(base, text),
            (None, None) => None,
        };
        Some(Self {
            parts: index.parts.iter().map(part).collect::<Option<_>>()?,
            predicate: match &index.predicate {
                Some(text) => Some(names.of_expr(base, text)?),
                None => None,
            },
            unique: index.unique,
            usable: !index.invalid,
            nulls_not_distinct: index.nulls_not_distinct,
            deferrable: Deferrable::No,
        })
    }

    fn is_over(&self, other: &Self) -> bool {
        let same_parts = self.set() == other.set();
        same_parts && same_predicate(self.predicate.as_deref(), other.predicate.as_deref())
    }

    /// Whether whoever keeps to this key runs into nothing that `other` refuses, both being over the same columns.
    fn is_as_strict_as(&self, other: &Self) -> bool {
        let nulls = self.nulls_not_distinct || !other.nulls_not_distinct;
        self.unique && nulls && self.deferrable <= other.deferrable
    }

    /// Whether a statement that relies on `other` finds the same in this key: `ON CONFLICT` takes no key that can be
    /// deferred, and with NULLs that are not distinct it finds rows that it would not find otherwise.
    fn takes_the_place_of(&self, other: &Self) -> bool {
        let named_in_conflicts = other.deferrable != Deferrable::No || self.deferrable == Deferrable::No;
        named_in_conflicts && (self.nulls_not_distinct || !other.nulls_not_distinct)
    }

    fn set(&self) -> BTreeSet<&str> {
        self.parts.iter().map(String::as_str).collect()
    }

    fn text(&self) -> String {
        let mut text = self.parts.join(", ");
        if let Some(predicate) = &self.predicate {
            text.push_str(" WHERE ");
            text.push_str(predicate);
        }
        text
    }
}

fn same_predicate(a: Option<&str>, b: Option<&str>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => expr::same(a, b),
        (None, None) => true,
        _ => false,
    }
}

/// All keys of a table with the names they go by.
fn keys_of(table: &Table, names: &CodeNames) -> Vec<(String, Key)> {
    let mut keys = Vec::new();
    let mut constraint = |name: &str, columns: &[String], nulls_not_distinct, deferrable| {
        if let Some(parts) = names.of_all(columns) {
            let key = Key { parts, predicate: None, unique: true, usable: true, nulls_not_distinct, deferrable };
            keys.push((name.to_owned(), key));
        }
    };
    if let Some(key) = &table.primary_key {
        constraint(key.name.as_deref().unwrap_or("primary key"), &key.columns, false, key.deferrable);
    }
    for (name, unique) in &table.uniques {
        constraint(name, &unique.columns, unique.nulls_not_distinct, unique.deferrable);
    }
    for (name, index) in &table.indexes {
        keys.extend(Key::of_index(table, index, names).map(|key| (name.clone(), key)));
    }
    keys
}

/// What the code runs into is looked for on all columns its writes reach; what it needs, `ON CONFLICT` targets and indexes,
/// only on those it names.
fn keys(base: &Table, declared: &Table, direct: &CodeNames, names: &CodeNames, reasons: &mut Vec<Reason>) {
    let table = || declared.name.clone();
    let own_names = CodeNames { pairs: declared.columns.iter().map(|c| (c.name.clone(), c.name.clone())).collect() };
    let (reached, actual) = (keys_of(base, names), keys_of(base, direct));
    let wanted = keys_of(declared, &own_names);
    for (name, key) in reached.iter().filter(|(_, key)| key.unique) {
        // A key over fewer columns is the stronger one: whoever keeps to it keeps to this one too.
        let implied = |w: &Key| {
            w.is_as_strict_as(key) && (w.is_over(key) || (w.predicate.is_none() && w.set().is_subset(&key.set())))
        };
        if !wanted.iter().any(|(_, w)| implied(w)) {
            reasons.push(Reason::Constrained { table: table(), constraint: name.clone() });
        }
    }
    for (_, key) in wanted {
        let serves = |a: &Key| match key.unique {
            true => a.usable && a.unique && a.is_over(&key) && a.takes_the_place_of(&key),
            false => a.usable && a.parts.starts_with(&key.parts) && (a.is_over(&key) || a.predicate.is_none()),
        };
        if !actual.iter().any(|(_, a)| serves(a)) {
            let (table, columns) = (table(), key.text());
            reasons.push(match key.unique {
                true => Reason::NoUniqueKey { table, columns },
                false => Reason::NoIndex { table, columns },
            });
        }
    }
}
