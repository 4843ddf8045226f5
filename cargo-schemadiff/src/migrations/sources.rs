//! What the structs said where the server spells it differently, so that unchanged structs are known to be equal to the
//! lock file without asking a server.
//!
//! Both schemas are walked as JSON trees. A list of named objects is walked by name, any other list by position. A path
//! is the names on the way, joined with `/` (`tables/users/columns/email_key/default`); `~` and `/` in a name are written
//! `~0` and `~1`, as in a JSON pointer.
//!
//! A source is about how something is spelled, and never about whether it is there: a whole object that only one side has
//! (an index, a check, a column) is none. And a spelling is good for as long as what it rests on is the same: a text
//! that names a column of another type is spelled in another way ([`Ground`]).

mod ground;

use std::collections::BTreeMap;

use schemadiff::{model::Schema, plan::Snapshot};
use serde_json::Value;

use self::ground::{Ground, Layer};
use crate::{Error, Kind, Result};

/// Path to source text.
pub type Sources = BTreeMap<String, String>;

fn tree(schema: &Schema) -> Result<Value> {
    serde_json::to_value(schema).map_err(|e| Error::new(Kind::Internal, "SD0932", "a schema cannot be walked").cause(e))
}

/// Where `written` (lowered from structs) differs from `normal` (the same schema in the server's spelling): path to what
/// was written.
///
/// # Errors
/// Never for schemas; [`Kind::Internal`] otherwise.
pub fn source_differences(written: &Schema, normal: &Schema) -> Result<Sources> {
    let mut sources = Sources::new();
    collect(&mut Vec::new(), Some(&tree(written)?), Some(&tree(normal)?), &mut sources);
    Ok(sources)
}

/// `desired` with the lock file's spelling wherever the structs still say what they said when the lock was written, and
/// what they say still means the same.
///
/// # Errors
/// [`Kind::Migrations`] when the lock's sources lead to something that is no schema.
pub fn with_lock_spelling(desired: &Schema, lock: &Snapshot) -> Result<Schema> {
    if lock.sources.is_empty() {
        return Ok(desired.clone());
    }
    let mut spelled = tree(desired)?;
    let locked = tree(&lock.schema)?;
    let sources: Vec<(Vec<String>, &String)> =
        lock.sources.iter().map(|(path, source)| (path.split('/').map(unescape).collect(), source)).collect();
    for layer in Layer::ALL {
        let ground = Ground::of(layer, &fits(spelled.clone())?, &lock.schema);
        for (path, source) in sources.iter().filter(|(path, _)| Layer::of(path) == layer) {
            let (written, normal) = (get(&spelled, path), get(&locked, path));
            let is_spelling = !named(written) && !named(normal);
            if is_spelling && encode(written) == **source && ground.holds(path, &locked) {
                replace(&mut spelled, path, normal.cloned());
            }
        }
    }
    fits(spelled)
}

fn fits(tree: Value) -> Result<Schema> {
    serde_json::from_value(tree).map_err(|e| {
        Error::new(Kind::Migrations, "SD0432", "the lock file's sources do not fit its schema")
            .cause(e)
            .help("restore the lock file from version control")
    })
}

fn collect(path: &mut Vec<String>, written: Option<&Value>, normal: Option<&Value>, sources: &mut Sources) {
    if written == normal {
        return;
    }
    if let (Some(a), Some(b)) = (written.and_then(children), normal.and_then(children)) {
        // Named members may be on one side only; positions are comparable only when there are as many.
        if named(written) == named(normal) && (named(written) || a.len() == b.len()) {
            let names: BTreeMap<String, ()> = a.iter().chain(&b).map(|(name, _)| (name.clone(), ())).collect();
            for name in names.into_keys() {
                let find = |list: &[(String, &'_ Value)]| list.iter().position(|(n, _)| *n == name);
                path.push(name.clone());
                collect(path, find(&a).map(|i| a[i].1), find(&b).map(|i| b[i].1), sources);
                path.pop();
            }
            return;
        }
    }
    if named(written) || named(normal) {
        // It is there or not: that is no matter of spelling.
        return;
    }
    let key = path.iter().map(|segment| escape(segment)).collect::<Vec<_>>().join("/");
    sources.insert(key, encode(written));
}

/// Whether members are known by name: an object, or a list of objects with names.
fn named(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Object(_)) => true,
        Some(Value::Array(list)) => !list.is_empty() && list.iter().all(|item| item.get("name").is_some()),
        _ => false,
    }
}

fn children(value: &Value) -> Option<Vec<(String, &Value)>> {
    match value {
        Value::Object(map) => Some(map.iter().map(|(name, v)| (name.clone(), v)).collect()),
        Value::Array(list) if named(Some(value)) => {
            Some(list.iter().filter_map(|item| Some((item.get("name")?.as_str()?.to_owned(), item))).collect())
        }
        Value::Array(list) => Some(list.iter().enumerate().map(|(i, item)| (i.to_string(), item)).collect()),
        _ => None,
    }
}

fn position(list: &[Value], value_is_named: bool, segment: &str) -> Option<usize> {
    if value_is_named {
        list.iter().position(|item| item.get("name").and_then(Value::as_str) == Some(segment))
    } else {
        segment.parse().ok().filter(|at| *at < list.len())
    }
}

fn get<'v>(value: &'v Value, path: &[String]) -> Option<&'v Value> {
    let Some((segment, rest)) = path.split_first() else {
        return Some(value);
    };
    match value {
        Value::Object(map) => get(map.get(segment)?, rest),
        Value::Array(list) => get(&list[position(list, named(Some(value)), segment)?], rest),
        _ => None,
    }
}

/// Sets or removes the member at `path`; does nothing where the way there does not exist.
fn replace(value: &mut Value, path: &[String], with: Option<Value>) {
    let Some((segment, rest)) = path.split_first() else {
        return;
    };
    let is_named = named(Some(value));
    match value {
        Value::Object(map) if rest.is_empty() => match with {
            Some(new) => drop(map.insert(segment.clone(), new)),
            None => drop(map.remove(segment)),
        },
        Value::Object(map) => {
            if let Some(member) = map.get_mut(segment) {
                replace(member, rest, with);
            }
        }
        Value::Array(list) => match (position(list, is_named, segment), with) {
            (Some(at), Some(new)) if rest.is_empty() => list[at] = new,
            (Some(at), None) if rest.is_empty() => drop(list.remove(at)),
            (None, Some(new)) if rest.is_empty() => list.push(new),
            (Some(at), with) => replace(&mut list[at], rest, with),
            (None, _) => {}
        },
        _ => {}
    }
}

/// A string as it is, anything else as `= JSON`, nothing as `= null`.
fn encode(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) if !text.starts_with("= ") => text.clone(),
        Some(other) => format!("= {other}"),
        None => "= null".to_owned(),
    }
}

fn escape(segment: &str) -> String {
    segment.replace('~', "~0").replace('/', "~1")
}

fn unescape(segment: &str) -> String {
    segment.replace("~1", "/").replace("~0", "~")
}

#[cfg(test)]
mod tests {
    use schemadiff::{
        model::{Check, Column, Dialect, Index, IndexPart, ObjectName, Table},
        plan::SNAPSHOT_FORMAT,
    };

    use super::*;

    fn users(default: &str, check: &str, part: &str) -> Schema {
        let mut table = Table::new(ObjectName::new("users"));
        table.columns.push(Column { default: Some(default.into()), ..Column::new("email", "text") });
        let check = Check { expr: check.into(), not_valid: false, no_inherit: false, comment: None };
        table.checks.insert("a/b~c".into(), check);
        let part = IndexPart { expr: Some(part.into()), ..IndexPart::default() };
        let index = Index {
            parts: vec![part],
            unique: false,
            method: None,
            include: vec![],
            predicate: None,
            constraint: false,
            nulls_not_distinct: false,
            with: BTreeMap::new(),
            invalid: false,
            comment: None,
        };
        table.indexes.insert("users_idx".into(), index);
        Schema { tables: [(table.name.clone(), table.into())].into(), ..Schema::default() }
    }

    #[test]
    fn unchanged_structs_are_equal_to_the_lock() {
        let written = users("'a'", "email<>''", "lower(email)");
        let mut normal = users("'a'::text", "(email <> ''::text)", "lower(email)");
        if let Some(column) = normal.tables.values_mut().next().and_then(|t| t.column_mut("email")) {
            column.collation = Some("C".into());
        }
        let sources = source_differences(&written, &normal).unwrap();
        assert_eq!(
            sources.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(),
            [
                ("tables/users/checks/a~1b~0c/expr", "email<>''"),
                ("tables/users/columns/email/collation", "= null"),
                ("tables/users/columns/email/default", "'a'"),
            ]
        );
        let lock = Snapshot {
            format: SNAPSHOT_FORMAT,
            dialect: Dialect::Postgres,
            head: None,
            sources,
            schema: normal.clone(),
        };
        assert_eq!(with_lock_spelling(&written, &lock).unwrap(), normal);
        let changed = users("'b'", "email<>''", "upper(email)");
        let spelled = with_lock_spelling(&changed, &lock).unwrap();
        let expected = {
            let mut s = users("'b'", "(email <> ''::text)", "upper(email)");
            s.tables.values_mut().next().unwrap().column_mut("email").unwrap().collation = Some("C".into());
            s
        };
        assert_eq!(spelled, expected);
    }

    fn lock_of(written: &Schema, normal: Schema) -> Snapshot {
        let sources = source_differences(written, &normal).unwrap();
        Snapshot { format: SNAPSHOT_FORMAT, dialect: Dialect::Postgres, head: None, sources, schema: normal }
    }

    fn retyped(mut schema: Schema, ty: &str) -> Schema {
        schema.tables.values_mut().next().unwrap().column_mut("email").unwrap().ty = ty.into();
        schema
    }

    #[test]
    fn an_unchanged_text_over_another_type_is_not_the_lock_s() {
        let written = users("'a'", "email<>''", "lower(email)");
        let normal = users("'a'::text", "(email <> ''::text)", "lower((email)::text)");
        let lock = lock_of(&written, normal.clone());
        let other = retyped(written.clone(), "mood");
        assert_eq!(with_lock_spelling(&other, &lock).unwrap(), other);
        // What names none of the columns in question is.
        let apart = |check: &str, schema: &Schema| {
            let mut schema = schema.clone();
            let table = schema.tables.values_mut().next().unwrap();
            table.columns.push(Column::new("qty", "integer"));
            let check = Check { expr: check.into(), ..table.checks["a/b~c"].clone() };
            table.checks.insert("qty_check".into(), check);
            schema
        };
        let lock = lock_of(&apart("qty>0", &written), apart("(qty > 0)", &normal));
        let other = retyped(apart("qty>0", &written), "mood");
        assert_eq!(with_lock_spelling(&other, &lock).unwrap(), apart("(qty > 0)", &retyped(written, "mood")));
    }

    #[test]
    fn a_text_over_a_type_that_lost_a_label_is_not_the_lock_s() {
        let mood = |labels: &[&str], schema: Schema| {
            let name = ObjectName::new("mood");
            let values = labels.iter().map(|label| (*label).to_owned()).collect();
            let mood = schemadiff::model::EnumType { name: name.clone(), values, comment: None };
            Schema { enums: [(name, mood)].into(), ..retyped(schema, "mood") }
        };
        let written = users("'a'", "email<>'a'", "x");
        let normal = users("'a'::mood", "(email <> 'a'::mood)", "x");
        let lock = lock_of(&mood(&["a", "b"], written.clone()), mood(&["a", "b"], normal.clone()));
        let more = with_lock_spelling(&mood(&["a", "b", "c"], written.clone()), &lock).unwrap();
        assert_eq!(more, mood(&["a", "b", "c"], normal));
        let fewer = mood(&["b"], written);
        assert_eq!(with_lock_spelling(&fewer, &lock).unwrap(), fewer);
    }

    #[test]
    fn what_only_one_side_has_is_no_matter_of_spelling() {
        let written = users("'a'", "true", "x");
        let renamed = |schema: &Schema| {
            let mut schema = schema.clone();
            let indexes = &mut schema.tables.values_mut().next().unwrap().indexes;
            let index = indexes.remove("users_idx").unwrap();
            indexes.insert("old_name".into(), index);
            schema
        };
        let lock = lock_of(&written, renamed(&written));
        assert_eq!(lock.sources, Sources::new());
        // As earlier versions wrote it.
        let sources = [("tables/users/indexes/old_name".to_owned(), "= null".to_owned())].into();
        let lock = Snapshot { sources, ..lock };
        assert_eq!(with_lock_spelling(&written, &lock).unwrap(), written);
    }

    #[test]
    fn a_source_for_something_that_is_gone_is_passed_over() {
        let written = users("'a'", "true", "x");
        let normal = users("'a'::text", "true", "x");
        let sources = source_differences(&written, &normal).unwrap();
        let lock =
            Snapshot { format: SNAPSHOT_FORMAT, dialect: Dialect::Postgres, head: None, sources, schema: normal };
        assert_eq!(with_lock_spelling(&Schema::default(), &lock).unwrap(), Schema::default());
    }
}
