//! Two schemas in normal form, and the changes that lead from one to the other. Pure: no dialect, no server.
//!
//! `diff(x, y)` is empty exactly when the fingerprints of `x` and `y` are equal, and applying the changes in order to
//! `x` gives `y` (apart from what is unmanaged). It never guesses: what could be a rename is asked back, and what loses
//! data must be acknowledged by name.

mod change;
mod domains;
mod enums;
mod hints;
mod labels;
mod objects;
mod questions;
mod tables;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use schemadiff::model::{Object, ObjectKey, ObjectName, Schema, Shared};

pub use schemadiff::artifact::Hints;

pub use change::{Change, Renamable};
pub(crate) use enums::is_type;
pub use hints::{add_backfill, add_rename, allowed_drops, column_name};
pub(crate) use objects::{goes_with, under};

use crate::{Error, Kind, Result};
use questions::Questions;

/// What a diff may assume.
#[derive(Debug, Clone, Default)]
pub struct DiffOptions {
    /// What may be dropped: `users`, `users.fullname`, as [`column_name`] writes it.
    pub allowed_drops: BTreeSet<String>,
    /// Tables that the project manages, by their current names. Others in the current schema are left alone. `None`: all.
    pub managed: Option<BTreeSet<ObjectName>>,
    /// How long dropped tables and columns are kept after contract, where the engine can do that cheaply. Zero: not at all.
    pub undo_window: Duration,
    /// Views, functions, triggers and the like are nobody's business here, apart from their standing in the way: no state and
    /// no fingerprint speaks of them. So it is where structs are compared with a database.
    pub objects_left_alone: bool,
}

impl DiffOptions {
    fn manages(&self, table: &ObjectName) -> bool {
        self.managed.as_ref().is_none_or(|managed| managed.contains(table))
    }
}

/// The changes that lead from `current` to `desired`, in an order in which they can be applied to the model.
///
/// # Errors
/// [`Kind::Refused`] when a rename is ambiguous or a drop is not acknowledged; the error shows all ways out at once.
pub fn diff(current: &Schema, desired: &Schema, hints: &Hints, options: &DiffOptions) -> Result<Vec<Change>> {
    refuse_unfinished(desired)?;
    let mut questions = Questions::new(options);
    let mut changes = Vec::new();

    let renamed = tables::renames(current, desired, hints)?;
    let mut base = current.clone();
    for (from, to) in &renamed {
        let change = Change::RenameTable { from: from.clone(), to: to.clone() };
        change.apply_to(&mut base);
        changes.push(change);
    }
    let of_types = [
        enums::renames(&base, desired, hints),
        domains::renames(&base, desired, hints),
        objects::renamed_types(&base, desired, hints),
    ];
    for change in of_types.concat() {
        change.apply_to(&mut base);
        changes.push(change);
    }
    for (from, to) in objects::renames(&base, desired, hints) {
        let change = Change::RenameObject { from, to };
        change.apply_to(&mut base);
        changes.push(change);
    }
    let managed = |name: &ObjectName| {
        let was = renamed.iter().find(|(_, to)| to == name).map_or(name, |(from, _)| from);
        desired.tables.contains_key(name) || options.manages(was)
    };

    let (created, dropped) = enums::changes(&base, desired, &managed, &mut questions);
    let (new_domains, old_domains) = domains::changes(&base, desired, &managed);
    changes.extend(created);
    changes.extend(new_domains);
    let going = base.tables.keys().filter(|name| !desired.tables.contains_key(*name) && managed(name)).collect();
    let (made, gone) = objects::changes(&base, desired, &going, &mut questions);
    changes.extend(made);
    tables::changes(&base, desired, hints, &managed, &mut questions, &mut changes)?;
    changes.extend(gone);
    changes.extend(old_domains);
    changes.extend(dropped);
    for view in current.compat_views.values() {
        changes.push(Change::DropCompatView { view: view.clone() });
    }
    questions.answered()?;
    Ok(changes)
}

/// The objects of a schema as they are once its tables have the names that are hinted at: what they are to stay.
pub fn objects_of(current: &Schema, hints: &Hints) -> BTreeMap<ObjectKey, Shared<Object>> {
    let mut schema = Schema { objects: current.objects.clone(), ..Schema::default() };
    for (to, from) in &hints.renamed_tables {
        change::rename_table(&mut schema, from, to);
    }
    schema.objects
}

/// The tables of `current` that a diff leaves alone because the project does not manage them.
pub fn unmanaged(current: &Schema, desired: &Schema, options: &DiffOptions) -> Vec<ObjectName> {
    let alone = |name: &&ObjectName| !desired.tables.contains_key(*name) && !options.manages(name);
    current.tables.keys().filter(alone).cloned().collect()
}

/// A sync trigger or a compatibility view is the middle of a migration; nobody can want to arrive there.
fn refuse_unfinished(desired: &Schema) -> Result<()> {
    let syncs = desired.tables.values().filter(|t| !t.syncs.is_empty()).map(|t| format!("table `{}`", t.name));
    let views = desired.compat_views.keys().map(|name| format!("compatibility view `{name}`"));
    match syncs.chain(views).next() {
        None => Ok(()),
        Some(what) => Err(Error::new(Kind::Refused, "SD0605", "the desired schema is in the middle of a migration")
            .cause(format!("{what} is there only while a migration is under way"))
            .help(
                "finish that migration with `cargo schemadiff apply`, or take it back with `cargo schemadiff abort`",
            )),
    }
}
