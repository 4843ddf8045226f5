//! Triggers of the user's on a table one of whose columns two versions know under two names, or with two types.
//!
//! One that fires for an update of the column fires for both names until old code is gone: for the server, the trigger that
//! keeps them in step sets nothing that a statement names. One that fires before rows are written fires before that trigger,
//! and sees of the two columns what the statement gave: that is said ([`hazard::trigger_too_early`]).

use schemadiff::{
    model::{Object, ObjectKind, ObjectName, Use},
    plan::Hazard,
};

use super::object::{change_locks, put, released, step};
use crate::{
    hazard,
    planner::{
        context::{Context, names_word},
        proto::{rank, tag},
    },
};

/// What the trigger is as long as old code runs, where that is another thing than in the end.
pub(super) fn meanwhile(cx: &Context<'_>, before: &Object, after: &Object) -> Option<Object> {
    let table = after.table().filter(|_| after.key.kind == ObjectKind::Trigger)?;
    let was = columns(&before.definition)?.1;
    let (start, shall, end) = columns(&after.definition)?;
    let mut uses = after.uses.clone();
    let mut named = Vec::new();
    for column in shall {
        let old = cx.request.hints.renamed_columns.get(&(table.clone(), column.name.clone()));
        let doubled = old.filter(|old| cx.before(table).is_some_and(|t| t.column(old).is_some()));
        if let Some(old) = was.iter().find(|was| Some(&was.name) == doubled) {
            uses.insert(Use::Column { table: table.clone(), column: old.name.clone() });
            named.push(old.written);
        }
        named.push(column.written);
    }
    let definition = [start, &named.join(", "), end].concat();
    (uses != after.uses).then(|| Object { definition, uses, ..after.clone() })
}

struct Named<'d> {
    /// As the server writes it.
    written: &'d str,
    name: String,
}

/// The columns after `UPDATE OF`, with what is before and after them.
fn columns(definition: &str) -> Option<(&str, Vec<Named<'_>>, &str)> {
    const BEGIN: &str = " UPDATE OF ";
    let start = definition.find(BEGIN)? + BEGIN.len();
    let (mut columns, mut from, mut quoted) = (Vec::new(), start, false);
    let named = |from: usize, to: usize| {
        let written = definition[from..to].trim();
        let bare = written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        Named { written, name: bare.map_or(written.to_owned(), |bare| bare.replace("\"\"", "\"")) }
    };
    for (at, c) in definition[start..].char_indices().map(|(at, c)| (start + at, c)) {
        match c {
            // Twice in a row it stands for itself, and the name goes on.
            '"' => quoted = !quoted,
            ',' if !quoted => {
                columns.push(named(from, at));
                from = at + 1;
            }
            ' ' if !quoted && !definition[from..at].trim().is_empty() => {
                columns.push(named(from, at));
                return Some((&definition[..start], columns, &definition[at..]));
            }
            _ => {}
        }
    }
    None
}

/// The step in contract that leaves the old columns to nobody.
pub(super) fn settle(cx: &mut Context<'_>, meanwhile: &Object, after: &Object) {
    let anew = || cx.ddl.drop_object(meanwhile).into_iter().chain(cx.ddl.create_object(after)).collect();
    let sql = cx.ddl.replace_object(meanwhile, after).unwrap_or_else(anew);
    let result = after.clone();
    let title = format!("let {} fire for the new names alone", after.key);
    let proto = step(rank::OBJECT, "settle", title, &after.key, after)
        .sql(sql)
        .no_undo()
        .locks(change_locks(cx, meanwhile, after))
        .effect(move |schema| put(schema, &result))
        .prepares(true)
        .tags(released(meanwhile, Some(after)))
        .after(tag::object(&after.key.as_touched()));
    cx.push(proto);
}

/// Triggers that fire before rows are written, and name one of two columns that another trigger keeps in step.
pub(super) fn too_early(cx: &Context<'_>, table: &ObjectName, columns: [&str; 2]) -> Option<Hazard> {
    let names_one = |text: &str| columns.iter().any(|column| reads(text, column));
    let runs = |trigger: &Object| {
        let mut functions = cx
            .base
            .objects
            .values()
            .filter(|object| object.key.kind == ObjectKind::Function && trigger.uses_object(&object.key));
        functions.any(|function| names_one(&function.definition))
    };
    let condition = |definition: &str| definition.split_once(" WHEN (").is_some_and(|(_, rest)| names_one(rest));
    let concerned = cx.base.objects.values().filter(|object| {
        object.key.kind == ObjectKind::Trigger
            && object.table() == Some(table)
            && object.definition.contains(" BEFORE ")
            && object.definition.contains(" FOR EACH ROW ")
            && (condition(&object.definition) || runs(object))
    });
    let names: Vec<String> = concerned.map(|object| format!("`{}`", object.key.name.name)).collect();
    (!names.is_empty()).then(|| hazard::trigger_too_early::hazard(table, &names.join(", "), columns))
}

/// Whether the text names the column other than to give it a value.
fn reads(text: &str, column: &str) -> bool {
    let pieces = text.split(":=").collect::<Vec<_>>();
    let (last, assigned) = pieces.split_last().unwrap_or((&text, &[]));
    let target =
        |piece: &str| piece.rfind(|c: char| !c.is_alphanumeric() && !"_.\"".contains(c)).map_or(0, |at| at + 1);
    assigned.iter().any(|piece| {
        let piece = piece.trim_end();
        names_word(&piece[..target(piece)], column)
    }) || names_word(last, column)
}

#[cfg(test)]
mod tests {
    use super::{columns, reads};

    #[test]
    fn a_column_that_only_gets_a_value_is_not_read() {
        assert!(!reads("BEGIN NEW.upd := now(); RETURN NEW; END", "upd"));
        assert!(reads("BEGIN NEW.n := NEW.upd + 1; RETURN NEW; END", "upd"));
        assert!(reads("BEGIN NEW.upd := coalesce(NEW.upd, now()); RETURN NEW; END", "upd"));
        assert!(reads("BEGIN IF NEW.upd > 3 THEN NEW.n := 1; END IF; RETURN NEW; END", "upd"));
    }

    #[test]
    fn the_columns_of_a_trigger_are_those_that_it_names() {
        let text = r#"CREATE TRIGGER g BEFORE INSERT OR UPDATE OF a, "Odd, ""one""", b ON t FOR EACH ROW EXECUTE FUNCTION f()"#;
        let (start, named, end) = columns(text).unwrap();
        assert_eq!(named.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["a", "Odd, \"one\"", "b"]);
        assert_eq!(named[1].written, r#""Odd, ""one""""#);
        assert!(start.ends_with("UPDATE OF ") && end.starts_with(" ON t"), "{start:?} {end:?}");
        assert!(columns("CREATE TRIGGER g BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()").is_none());
    }
}
