//! What the structs said where the server spells it differently, so that unchanged structs are known to be equal to the
//! lock file without asking a server.
//!
//! Both schemas are walked as JSON trees. A list of named objects is walked by name, any other list by position. A path
//! is the names on the way, joined with `/` (`tables/users/columns/email_key/default`); `~` and `/` in a name are written
//! `~0` and `~1`, as in a JSON pointer.

use std::collections::BTreeMap;

use schemadiff::{model::Schema, plan::Snapshot};
use serde_json::Value;

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

/// `desired` with the lock file's spelling wherever the structs still say what they said when the lock was written.
///
/// # Errors
/// [`Kind::Migrations`] when the lock's sources lead to something that is no schema.
pub fn with_lock_spelling(desired: &Schema, lock: &Snapshot) -> Result<Schema> {
    if lock.sources.is_empty() {
        return Ok(desired.clone());
    }
    let mut spelled = tree(desired)?;
    let locked = tree(&lock.schema)?;
    for (path, source) in &lock.sources {
        let path: Vec<String> = path.split('/').map(unescape).collect();
        if encode(get(&spelled, &path)) == *source {
            replace(&mut spelled, &path, get(&locked, &path).cloned());
        }
    }
    serde_json::from_value(spelled).map_err(|e| {
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
