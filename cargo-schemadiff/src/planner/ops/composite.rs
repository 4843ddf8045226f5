//! Composite and range types are made, renamed and dropped as other objects are. What they consist of changes only while no column
//! stores their values: code writes and reads all of a value, and what one version writes the other one could not read.

use schemadiff::model::{Object, ObjectKind, ObjectName, Table};

use crate::{Error, Kind, Result, diff::is_type, planner::context::Context};

/// # Errors
/// [`Kind::Refused`] for a type that changes and whose values a table stores, itself or within another type.
pub(super) fn check(cx: &Context<'_>, before: Option<&Object>, after: Option<&Object>) -> Result<()> {
    let (Some(before), Some(after)) = (before, after) else { return Ok(()) };
    if after.key.kind != ObjectKind::Type || before.definition == after.definition {
        return Ok(());
    }
    let mut names: Vec<&ObjectName> = vec![&before.key.name];
    // Types that hold values of it, and theirs.
    let mut at = 0;
    while at < names.len() {
        let holds = |object: &&Object| {
            let attribute = |(_, ty): &(String, String)| is_type(ty, names[at]);
            object.key.kind == ObjectKind::Type && object.columns.iter().any(attribute)
        };
        let domains = cx.base.domains.values().filter(|domain| is_type(&domain.ty, names[at]));
        let all = cx.base.objects.values().map(|object| &**object).filter(holds).map(|object| &object.key.name);
        let more: Vec<_> = all.chain(domains.map(|domain| &domain.name)).filter(|name| !names.contains(name)).collect();
        names.extend(more);
        at += 1;
    }
    let stored = |table: &Table| {
        let column = table.columns.iter().find(|column| names.iter().any(|name| is_type(&column.ty, name)));
        column.map(|column| format!("{}.{}", table.name, column.name))
    };
    match cx.base.tables.values().find_map(|table| stored(table)) {
        None => Ok(()),
        Some(column) => {
            let what = format!("{} cannot change while `{column}` stores its values", after.key);
            Err(Error::new(Kind::Refused, "SD0679", what)
                .cause(
                    "code writes and reads a value as a whole: what one of the two versions writes the other cannot read",
                )
                .help("make a type of another name, and a column of it with #[column(backfill = \"..\")]")
                .help("drop the old column and the old type in a later release"))
        }
    }
}
