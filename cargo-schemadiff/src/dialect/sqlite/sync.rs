//! Two columns kept in step by triggers.
//!
//! A trigger of SQLite cannot assign to NEW, so these run after the row was stored and update it, found by its key. An
//! UPDATE inside a trigger fires the other trigger (and with `recursive_triggers` itself), so every write is guarded by
//! "the pair is not in step". In step means `new IS forward` *or* `old IS backward`: with a lossy conversion only one of
//! the two holds after a write, and acting on the other would overwrite what the client wrote.
//!
//! All comparisons are byte for byte (`COLLATE BINARY`): under NOCASE a change of case would be no change.
//! Plain UPDATEs take over the conflict policy of the client's statement, which is what is wanted: nothing here deletes
//! or ignores a row that the client's own policy would not.
//!
//! An old column that is NOT NULL is nullable meanwhile, or new code could write no row. What its constraint refused is then
//! refused by the triggers, in the constraint's words, when all is in step. OR IGNORE cannot be told from here: a row that it
//! would have left out fails the statement, rather than being there with a NULL that old code cannot read.

use schemadiff::model::Sync;

use super::{
    create::name,
    expr,
    lexer::{ident, literal},
};
use crate::dialect::SyncSpec;

/// What a comment of ours begins with; JSON follows.
const MARK: &str = "schemadiff:";

/// The triggers of a sync, as (name, statement).
pub(super) fn triggers(sync: &SyncSpec) -> Vec<(String, String)> {
    if !sync.later.is_empty() {
        return vec![(sync.name.clone(), taking_away(sync))];
    }
    let [insert, update] = trigger_names(&sync.name);
    let texts = Texts::of(sync);
    let on_insert = trigger(sync, &insert, "INSERT", None, &texts.after_insert());
    let on_update = trigger(sync, &update, "UPDATE", Some(&texts.touched()), &texts.after_update());
    vec![(insert, on_insert), (update, on_update)]
}

/// The names of the triggers of one sync that fills at once.
pub(super) fn trigger_names(sync: &str) -> [String; 2] {
    [format!("{sync}_i"), format!("{sync}_u")]
}

/// The sync's name and what it does, if the trigger is one of ours.
pub(super) fn of_trigger<'t>(trigger: &'t str, sql: &str) -> Option<(&'t str, Sync)> {
    #[derive(serde::Deserialize)]
    struct Mark {
        fills: Vec<String>,
        #[serde(default)]
        later: bool,
    }
    let start = format!("/* {MARK}");
    let mark = sql.get(sql.find(&start)? + start.len()..)?;
    let Mark { fills, later } = serde_json::from_str(mark.get(..mark.find("*/")?)?).ok()?;
    let name = match later {
        true => trigger,
        false => trigger.strip_suffix("_i").or_else(|| trigger.strip_suffix("_u"))?,
    };
    name.starts_with(super::render::OWN_PREFIX).then(|| (name, Sync { fills, later, ..Sync::default() }))
}

/// A value that a function of the application gave goes when what it was computed from changes and it does not.
fn taking_away(sync: &SyncSpec) -> String {
    let (table, new, row) = (ident(&sync.table.name), ident(&sync.new), row_of_new(sync));
    let changed = |column: &String| format!("NEW.{0} COLLATE BINARY IS NOT OLD.{0}", ident(column));
    let changed = sync.later.iter().map(changed).collect::<Vec<_>>().join(" OR ");
    let when = format!("NEW.{new} IS NOT NULL AND NEW.{new} COLLATE BINARY IS OLD.{new} AND ({changed})");
    trigger(sync, &sync.name, "UPDATE", Some(&when), &[format!("UPDATE {table} SET {new} = NULL\n    WHERE {row}")])
}

fn trigger(sync: &SyncSpec, trigger: &str, event: &str, when: Option<&str>, body: &[String]) -> String {
    // `*/` would end the comment; JSON allows a backslash before the slash.
    let mark = match sync.later.is_empty() {
        true => serde_json::json!({ "fills": sync.fills() }),
        false => serde_json::json!({ "fills": sync.fills(), "later": true }),
    };
    let mark = mark.to_string().replace("*/", "*\\/");
    let when = when.map(|condition| format!("\nWHEN {condition}")).unwrap_or_default();
    format!(
        "CREATE TRIGGER {} AFTER {event} ON {} FOR EACH ROW{when}\nBEGIN\n  /* {MARK}{mark} */\n  {};\nEND",
        name(&sync.table.sibling(trigger)),
        ident(&sync.table.name),
        body.join(";\n  ")
    )
}

/// The conditions and assignments of one sync.
struct Texts {
    table: String,
    row: String,
    new: String,
    forward: String,
    /// Old column and backward expression, when values flow back.
    back: Option<(String, String)>,
    /// The columns the new one is computed from.
    sources: Vec<String>,
    /// Stops a statement that leaves the old column NULL where that is refused.
    refusal: Option<String>,
}

impl Texts {
    fn of(sync: &SyncSpec) -> Self {
        let mut sources: Vec<String> = sync.old.iter().map(|old| ident(old)).collect();
        for column in expr::mentioned(&sync.forward, &sync.columns).into_iter().map(|c| ident(c)) {
            if !sources.contains(&column) && column != ident(&sync.new) {
                sources.push(column);
            }
        }
        Self {
            table: ident(&sync.table.name),
            row: row_of_new(sync),
            new: ident(&sync.new),
            forward: sync.forward.clone(),
            back: sync.old.as_ref().zip(sync.backward.as_ref()).map(|(old, back)| (ident(old), back.clone())),
            sources,
            refusal: sync.old.as_ref().filter(|_| sync.refuses_null).map(|old| refusal(sync, old)),
        }
    }

    fn fill(&self, condition: &str) -> String {
        let Self { table, row, new, forward, .. } = self;
        format!("UPDATE {table} SET {new} = ({forward})\n    WHERE {row} AND {condition}")
    }

    fn flow_back(&self, condition: &str) -> Option<String> {
        let Self { table, row, .. } = self;
        let (old, backward) = self.back.as_ref()?;
        Some(format!("UPDATE {table} SET {old} = ({backward})\n    WHERE {row} AND {condition}"))
    }

    /// The row's pair is not in step: written over the row as it is stored.
    fn out_of_step(&self) -> String {
        let forward = format!("{} COLLATE BINARY IS NOT ({})", self.new, self.forward);
        match &self.back {
            Some((old, backward)) => format!("{forward} AND {old} COLLATE BINARY IS NOT ({backward})"),
            None => forward,
        }
    }

    fn sources_changed(&self) -> String {
        let changed = |c: &String| format!("NEW.{c} COLLATE BINARY IS NOT OLD.{c}");
        match self.sources.is_empty() {
            true => "0".to_owned(),
            false => self.sources.iter().map(changed).collect::<Vec<_>>().join(" OR "),
        }
    }

    /// The row's former value was the one that follows from its former sources.
    fn was_derived(&self) -> String {
        let Self { new, forward, .. } = self;
        let old_row = self.sources.iter().map(|c| format!("OLD.{c} AS {c}")).collect::<Vec<_>>().join(", ");
        match old_row.is_empty() {
            true => "1".to_owned(),
            false => format!("OLD.{new} COLLATE BINARY IS (SELECT ({forward}) FROM (SELECT {old_row}))"),
        }
    }

    fn new_changed(&self) -> String {
        format!("NEW.{0} COLLATE BINARY IS NOT OLD.{0}", self.new)
    }

    /// A row that the update trigger has to look at.
    fn touched(&self) -> String {
        format!("{} OR {} OR NEW.{} IS NULL", self.sources_changed(), self.new_changed(), self.new)
    }

    fn after_insert(&self) -> Vec<String> {
        let Self { new, forward, .. } = self;
        // The new column was named by the statement: new code wrote the row.
        let back = self.flow_back(&format!("NEW.{new} IS NOT NULL AND {}", self.out_of_step()));
        // It was not: old code did.
        let fill = self.fill(&format!("NEW.{new} IS NULL AND {new} IS NULL AND ({forward}) IS NOT NULL"));
        back.into_iter().chain([fill]).chain(self.refusal.clone()).collect()
    }

    fn after_update(&self) -> Vec<String> {
        let Self { new, forward, .. } = self;
        let (old_side, new_side, apart) = (self.sources_changed(), self.new_changed(), self.out_of_step());
        // Old code changed what the new column comes from. Where nothing flows back, a statement that gives the new
        // column itself keeps its value.
        let follow = match self.back {
            Some(_) => self.fill(&format!("({old_side}) AND {apart}")),
            // Only a value that came from the sources follows them: what new code chose stays.
            None => self.fill(&format!("({old_side}) AND NOT ({new_side}) AND {} AND {apart}", self.was_derived())),
        };
        let back = self.flow_back(&format!("NOT ({old_side}) AND {new_side} AND {apart}"));
        let empty = format!("NEW.{new} IS NULL AND {new} IS NULL AND ({forward}) IS NOT NULL");
        let fill = match self.back {
            // A row that no backfill has reached was touched for some other reason.
            Some(_) => self.fill(&format!("NOT ({old_side}) AND NOT ({new_side}) AND {empty}")),
            // Nobody may leave it empty, also not old code that says NULL in so many words.
            None => self.fill(&empty),
        };
        [follow].into_iter().chain(back).chain([fill]).chain(self.refusal.clone()).collect()
    }
}

/// Looks at the row as it is stored by then.
fn refusal(sync: &SyncSpec, old: &str) -> String {
    let message = literal(&format!("NOT NULL constraint failed: {}.{old}", sync.table.name));
    let (table, row) = (ident(&sync.table.name), row_of_new(sync));
    format!("SELECT RAISE(ABORT, {message}) FROM {table}\n    WHERE {row} AND {} IS NULL", ident(old))
}

/// Finds the stored row. `IS`, because a primary key of SQLite may hold NULL.
fn row_of_new(sync: &SyncSpec) -> String {
    if sync.key.is_empty() {
        let rowid = rowid_name(sync.columns.iter().chain([&sync.new])).unwrap_or("rowid");
        return format!("{rowid} = NEW.{rowid}");
    }
    let same = |column: &String| format!("{0} IS NEW.{0}", ident(column));
    sync.key.iter().map(same).collect::<Vec<_>>().join(" AND ")
}

/// The name under which the rowid can be had: the first that no column takes.
pub(super) fn rowid_name<'c>(columns: impl IntoIterator<Item = &'c String>) -> Option<&'static str> {
    let taken: Vec<String> = columns.into_iter().map(|c| c.to_ascii_lowercase()).collect();
    ["rowid", "_rowid_", "oid"].into_iter().find(|name| !taken.iter().any(|t| t == name))
}
