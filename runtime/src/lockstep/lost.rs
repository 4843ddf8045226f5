//! Taking a step back whose tables somebody has dropped meanwhile.

use std::collections::BTreeSet;

use super::context::Failed;
use crate::{
    backend::{Backend, DbResult, ErrorClass},
    model::{Delta, ObjectName},
    plan::Step,
};

/// Whether somebody has dropped all tables that the step is about: nothing is left of it that could be taken back.
pub(super) async fn lost_its_tables<B: Backend>(db: &mut B, step: &Step) -> DbResult<bool> {
    let tables: BTreeSet<&ObjectName> = step.effects.iter().filter_map(|delta| delta.table()).collect();
    let only_tables = step.effects.iter().all(|delta| delta.table().is_some());
    // One that the step itself has taken away is where it has put it.
    let takes_away = step.effects.iter().any(|delta| matches!(delta, Delta::Table { after: None, .. }));
    if tables.is_empty() || !only_tables || takes_away {
        return Ok(false);
    }
    for table in tables {
        if db.is_there(table).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Takes back what does not go with a table that somebody has dropped: a function, a type.
pub(super) async fn what_is_left<B: Backend>(db: &mut B, step: &Step) -> Result<(), Failed> {
    for sql in &step.undo {
        db.execute("SAVEPOINT schemadiff_left").await.map_err(Failed::from)?;
        match db.execute(sql).await {
            Ok(_) => {}
            // 42704: an index, a trigger or a constraint that went with the table.
            Err(error) if error.class == ErrorClass::Missing || error.code == "42704" => {
                db.execute("ROLLBACK TO SAVEPOINT schemadiff_left").await.map_err(Failed::from)?;
            }
            Err(error) => return Err(Failed::at(sql)(error)),
        }
    }
    Ok(())
}
