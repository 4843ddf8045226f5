//! Comparing a prediction with what a server shows.

use schemadiff::model::{Fingerprint, Object, Schema, between, expr};

use crate::planner::describe;

/// Equal, or the difference as text: from what was predicted to what was found.
///
/// On the way (`at_end` is false) objects are compared by their being there: their definitions follow renames in words of the
/// server's own.
pub(super) fn same(predicted: &Schema, found: &Schema, at_end: bool) -> Result<(), String> {
    let (mut predicted, mut found) = (comparable(predicted), comparable(found));
    if !at_end {
        for object in predicted.objects.values_mut().chain(found.objects.values_mut()) {
            *object = Object::new(object.key.clone(), "").into();
        }
    }
    if Fingerprint::of(&predicted) == Fingerprint::of(&found) {
        return Ok(());
    }
    Err(describe(&between(&predicted, &found)))
}

/// Takes labels out of types that `expected` does not have and `coming` has: a migration that was taken back leaves them.
pub fn without_labels_to_come(found: &mut Schema, expected: &Schema, coming: &Schema) {
    for (name, found) in &mut found.enums {
        let (Some(expected), Some(coming)) = (expected.enums.get(name), coming.enums.get(name)) else { continue };
        found.values.retain(|label| expected.values.contains(label) || !coming.values.contains(label));
    }
}

/// Without what a server cannot show, and with names in expressions quoted in one way: which words must be quoted is the
/// server's matter, and a prediction that replaced a name cannot know it.
pub fn comparable(schema: &Schema) -> Schema {
    let mut schema = schema.clone();
    let plain = |text: &mut String| *text = expr::map_columns(text, |name| Some(name.to_owned()));
    for table in schema.tables.values_mut() {
        table.syncs.values_mut().for_each(|sync| *sync = sync.structure());
        table.checks.values_mut().for_each(|check| plain(&mut check.expr));
        for column in &mut table.columns {
            column.generated.iter_mut().for_each(|generated| plain(&mut generated.expr));
        }
        for index in table.indexes.values_mut() {
            index.parts.iter_mut().filter_map(|part| part.expr.as_mut()).for_each(plain);
            index.predicate.iter_mut().for_each(plain);
        }
    }
    schema
}
