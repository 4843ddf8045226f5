//! The schema of the running code, in the spelling of the database.

use crate::{
    artifact,
    error::{Error, Result},
    model::{Column, Dialect, ObjectName, Schema},
    plan::Snapshot,
};

/// What the linked structs declare.
pub(super) fn declared(dialect: Dialect) -> Result<Schema> {
    let tables = artifact::own_tables().map_err(|e| Error::OwnSchema { cause: e.to_string() })?;
    let lowered = artifact::lower(&tables, dialect).map_err(|errors| Error::OwnSchema {
        cause: errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
    })?;
    Ok(lowered.schema)
}

/// Types in the server's spelling where the lock file knows it for this very source text.
pub(super) fn spelled(mut declared: Schema, snapshot: &Snapshot) -> Schema {
    for (name, table) in &mut declared.tables {
        for column in &mut table.columns {
            if let Some(known) = snapshot.schema.column(name, &column.name)
                && known.ty != column.ty
                && written(name, column, snapshot)
            {
                column.ty.clone_from(&known.ty);
            }
        }
    }
    declared
}

/// Whether the lock file's column comes from a struct that said what this one says.
fn written(table: &ObjectName, column: &Column, snapshot: &Snapshot) -> bool {
    let path = format!("tables/{}/columns/{}/type", escape(&table.to_string()), escape(&column.name));
    snapshot.sources.get(&path) == Some(&column.ty)
}

/// As in a JSON pointer.
fn escape(segment: &str) -> String {
    segment.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Table, plan::SNAPSHOT_FORMAT};

    fn one_column(ty: &str) -> Schema {
        let mut table = Table::new(ObjectName::new("users"));
        table.columns.push(Column::new("name", ty));
        Schema { tables: [(table.name.clone(), table.into())].into(), ..Schema::default() }
    }

    fn lock(source: &str) -> Snapshot {
        Snapshot {
            format: SNAPSHOT_FORMAT,
            dialect: Dialect::Postgres,
            head: None,
            sources: [("tables/users/columns/name/type".to_owned(), source.to_owned())].into(),
            schema: one_column("character varying(20)"),
        }
    }

    #[test]
    fn the_lock_gives_the_spelling_only_for_what_it_was_made_of() {
        let same = spelled(one_column("varchar(20)"), &lock("varchar(20)"));
        assert_eq!(same, one_column("character varying(20)"));
        let other = spelled(one_column("varchar(30)"), &lock("varchar(20)"));
        assert_eq!(other, one_column("varchar(30)"));
    }
}
