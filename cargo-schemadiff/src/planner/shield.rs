//! The views way: before a table changes its shape, the retiring version gets a view of it as it is, and keeps it until
//! contract. From then on the table changes freely: the server makes the view follow renames, no data moves, and a
//! statement that is kept prepared never sees another result. New code uses the table itself.
//!
//! The other way is in `synced`. An operation that changes a table's shape says so with [`Context::changes_shape`], and
//! asks [`Context::is_shielded`] where the two ways lead through different steps.

use std::collections::BTreeMap;

use schemadiff::{
    compat::view_schema,
    embed::INITIAL,
    model::{CompatView, Object, ObjectKind, ObjectName, Schema, Shared, Table},
    plan::Overlap,
};

use super::{
    PlanRequest,
    context::{Context, names_word, slug},
    proto::{Proto, rank, tag},
};
use crate::hazard;

/// The database schemas that the retiring version looks into first, one for each application; none where it is not
/// retired behind views.
pub(super) fn schemas(request: &PlanRequest<'_>) -> Vec<String> {
    match request.strategy.way {
        Overlap::Views => request.strategy.apps.iter().map(|app| view_schema(app, retiring(request))).collect(),
        Overlap::Synced => Vec::new(),
    }
}

/// The version that is being replaced: the one that carries the migration before this one.
fn retiring<'r>(request: &PlanRequest<'r>) -> &'r str {
    request.parent.unwrap_or(INITIAL)
}

impl Context<'_> {
    /// Whether the retiring version sees the table, which is there before the plan, through a view. Asking means that there
    /// is a choice, which the plan then speaks of.
    pub fn is_shielded(&mut self, table: &ObjectName) -> bool {
        // A partition is a table of its own name too, which would need a view for each.
        let in_one_piece = |t: &&Table| t.partition_by.is_none() && t.partition_of.is_none();
        if self.before(table).filter(in_one_piece).is_none() || !self.can_be_viewed(table) {
            return false;
        }
        self.chosen = true;
        // A table with a database schema of its own is reached by its full name, past any view.
        let was_qualified = self.request.hints.renamed_tables.get(table).is_some_and(|from| from.schema.is_some());
        !self.views.is_empty() && table.schema.is_none() && !was_qualified
    }

    /// Whether a view can stand for the table as old code knows it, with all that the table lets through and no more.
    pub fn can_be_viewed(&self, table: &ObjectName) -> bool {
        let current = self.request.current;
        let name = self.request.hints.renamed_tables.get(table).unwrap_or(table);
        let goes_past = || !self.caps.views_follow_policies && current.has_row_security(name);
        self.caps.updatable_views && !goes_past()
    }

    /// Whether the column can change behind the view: what of the user's depends on it (a view, a trigger, a policy, a function that
    /// names it) would change with it, before the old version's statements that rely on it are gone.
    pub fn is_column_shielded(&mut self, table: &ObjectName, columns: [&str; 2]) -> bool {
        let named = |text: &str| columns.iter().any(|column| names_word(text, column));
        let depends = |object: &Object| match object.key.kind {
            ObjectKind::ColumnSettings | ObjectKind::Sequence | ObjectKind::RowSecurity => false,
            ObjectKind::Function | ObjectKind::Procedure => {
                let fires = |other: &Shared<Object>| {
                    other.key.kind == ObjectKind::Trigger
                        && other.table() == Some(table)
                        && other.uses_object(&object.key)
                };
                named(&object.definition)
                    && (names_word(&object.definition, &table.name) || self.base.objects.values().any(fires))
            }
            _ => columns.iter().any(|column| object.uses_column(table, column)),
        };
        let hindered = self.base.objects.values().any(|object| depends(object));
        !hindered && self.is_shielded(table)
    }

    /// A step that changes what `SELECT *` returns: behind the view, or with a warning.
    pub fn changes_shape(&mut self, table: &ObjectName, step: Proto) -> Proto {
        if self.is_shielded(table) {
            let shield = self.shield(table);
            step.after(shield)
        } else {
            step.hazard([self.more_columns_hazard(table)])
        }
    }

    /// Makes the view, once for each table, and its end in contract. Returns the tag of the step that makes it.
    fn shield(&mut self, table: &ObjectName) -> String {
        let before = self.request.hints.renamed_tables.get(table).unwrap_or(table).clone();
        let made = tag::shielded(table);
        if !self.shields.insert(table.clone()) {
            return made;
        }
        let Some(of) = self.request.current.table(&before) else { return made };
        let columns: BTreeMap<_, _> = of.columns.iter().map(|c| (c.name.clone(), c.name.clone())).collect();
        let view = |schema: &String| CompatView {
            name: ObjectName::in_schema(Some(schema), &before.name),
            table: before.clone(),
            columns: columns.clone(),
        };
        let views: Vec<CompatView> = self.views.iter().map(view).collect();
        let names: Vec<ObjectName> = views.iter().map(|view| view.name.clone()).collect();

        let id = slug(&["view", &before.to_string()]);
        let title = format!("show `{before}` to the old version through a view, as it is");
        let mut step = Proto::new(rank::VIEW, id, title, &before)
            .touching(&names)
            .sql(views.iter().flat_map(|view| self.ddl.create_compat_view(view, of)))
            .undo(views.iter().rev().flat_map(|view| self.ddl.drop_compat_view(view)))
            .locks(self.ddl.locks("create_compat_view", &before, &[]))
            .effect({
                let views = views.clone();
                move |schema: &mut Schema| {
                    schema.compat_views.extend(views.iter().map(|view| (view.name.clone(), view.clone())));
                }
            })
            .hazard(names.iter().map(|name| hazard::view_limits::hazard(name, &before)))
            .tag(&made);
        step.cause.clone_from(&self.cause);
        // Not through `push`: it comes before the table gets its new name.
        self.protos.push(step);

        let id = slug(&["drop-view", &before.to_string()]);
        let title = format!("drop the view through which the old version saw `{before}`");
        let mut step = Proto::new(rank::REMOVE, id, title, table)
            .touching(&names)
            .sql(views.iter().flat_map(|view| self.ddl.drop_compat_view(view)))
            .no_undo()
            .effect(move |schema: &mut Schema| schema.compat_views.retain(|name, _| !names.contains(name)))
            .tag(tag::unviewed(table))
            .after(&made)
            .prepares(true);
        for view in &views {
            step = step.locks(self.ddl.locks("drop_compat_view", &view.name, &[]));
        }
        self.push(step);
        made
    }
}
