//! Renaming an enumerated type or one of its labels in the model: columns and expressions follow, as they do on the servers.

use schemadiff::model::{Object, ObjectKey, ObjectKind, ObjectName, Schema, Shared, Table};

/// Gives a type another name.
pub(crate) fn rename_type(schema: &mut Schema, from: &ObjectName, to: &ObjectName) {
    if let Some(mut enumeration) = schema.enums.remove(from) {
        enumeration.name = to.clone();
        schema.enums.insert(to.clone(), enumeration);
    }
    if let Some(mut domain) = schema.domains.remove(from) {
        domain.name = to.clone();
        schema.domains.insert(to.clone(), domain);
    }
    let new = spelled(to);
    let spellings = spellings(from);
    let own = ObjectKey::new(ObjectKind::Type, from.clone());
    if let Some(object) = schema.objects.remove(&own) {
        let key = ObjectKey { name: to.clone(), ..own };
        schema.objects.insert(key.clone(), super::objects::under(&object, &key).into());
    }
    // A composite type is used as a relation.
    let uses = |object: &Object| object.uses_type(from) || object.uses_relation(from);
    let keys: Vec<_> = schema.objects.values().filter(|o| uses(o)).map(|o| o.key.clone()).collect();
    for mut object in keys.iter().filter_map(|key| schema.objects.remove(key)).collect::<Vec<_>>() {
        follow_type(&mut object, from, to, &spellings);
        object.follow_table(from, to);
        object.definition = definition_with_relation(&object, from, to);
        schema.objects.insert(object.key.clone(), object);
    }
    each_text(schema, |text, is_type| {
        for old in &spellings {
            if let Some(changed) = retyped(text, old, &new, is_type) {
                *text = changed;
                return;
            }
        }
    });
}

/// Makes an object follow the type of a table's rows. It is always named with its schema there: a bare `date` is the server's own.
pub(crate) fn follow_rows(object: &mut Object, from: &ObjectName, to: &ObjectName) {
    follow_type(object, from, to, &[qualified(from)]);
}

/// Makes an object follow a type that it takes, gives or shows. Its definition is left to the caller.
fn follow_type(object: &mut Object, from: &ObjectName, to: &ObjectName, spellings: &[String]) {
    let renamed =
        |ty: &str| spellings.iter().find_map(|old| retyped(ty, old, &qualified(to), true)).unwrap_or(ty.to_owned());
    object.follow_type(from, to, |arguments| arguments.split(", ").map(renamed).collect::<Vec<_>>().join(", "));
    for (_, ty) in &mut object.columns {
        *ty = renamed(ty);
    }
}

/// Gives a label another name.
pub(crate) fn rename_label(schema: &mut Schema, name: &ObjectName, from: &str, to: &str) {
    if let Some(label) = schema.enums.get_mut(name).and_then(|e| e.values.iter_mut().find(|label| *label == from)) {
        to.clone_into(label);
    }
    let literal = |label: &str| format!("'{}'", label.replace('\'', "''"));
    let pairs: Vec<_> = spellings(name)
        .into_iter()
        .map(|ty| (format!("{}::{ty}", literal(from)), format!("{}::{ty}", literal(to))))
        .collect();
    let arrays: Vec<_> = spellings(name).into_iter().map(|ty| format!("'::{ty}[]")).collect();
    let relabelled = |text: &mut String| {
        for (old, new) in &pairs {
            if text.contains(old.as_str()) {
                *text = text.replace(old.as_str(), new);
            }
        }
        for cast in arrays.iter().filter(|cast| text.contains(cast.as_str())).collect::<Vec<_>>() {
            *text = in_arrays(text, cast, from, to);
        }
    };
    each_definition(schema, relabelled);
    each_text(schema, |text, is_type| {
        if !is_type {
            relabelled(text);
        }
    });
}

/// The text with the label exchanged in every array that is written as one literal: `'{a,"b c"}'::ty[]`.
fn in_arrays(text: &str, cast: &str, from: &str, to: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(end) = rest.find(cast) {
        let start = rest[..end].rfind("'{").unwrap_or(end);
        out.push_str(&rest[..start]);
        out.push_str(&array_relabelled(&rest[start..end], from, to));
        out.push_str(cast);
        rest = &rest[end + cast.len()..];
    }
    out + rest
}

fn array_relabelled(literal: &str, from: &str, to: &str) -> String {
    // In a literal a quote is there twice, and an element may be in quotes with escapes of its own.
    let element = |label: &str| {
        let special = |c: char| c.is_whitespace() || "{},\"\\".contains(c);
        let escaped = label.replace('\\', "\\\\").replace('"', "\\\"").replace('\'', "''");
        let must = label.is_empty() || label.eq_ignore_ascii_case("null") || label.contains(special);
        if must { format!("\"{escaped}\"") } else { escaped }
    };
    let (from, to) = (element(from), element(to));
    let (mut out, mut one, mut quoted, mut escaped) = (String::new(), String::new(), false, false);
    for c in literal.chars() {
        if !quoted && matches!(c, '{' | '}' | ',') {
            out.push_str(if one == from { &to } else { &one });
            one.clear();
            out.push(c);
            continue;
        }
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        one.push(c);
    }
    out + &one
}

/// Gives a sequence another name in the defaults that call it.
pub(crate) fn rename_sequence(schema: &mut Schema, from: &ObjectName, to: &ObjectName) {
    let quoted = |text: &str| format!("'{}'::regclass", text.replace('\'', "''"));
    let new = quoted(&spelled(to));
    let olds: Vec<_> = spellings(from).iter().map(|old| quoted(old)).collect();
    let (old_full, new_full) = (quoted(&qualified(from)), quoted(&qualified(to)));
    each_definition(schema, |text| *text = text.replace(&old_full, &new_full));
    each_text(schema, |text, is_type| {
        if let Some(old) = olds.iter().find(|old| !is_type && text.contains(old.as_str())) {
            *text = text.replace(old.as_str(), &new);
        }
    });
}

/// The definition of something over a relation that is renamed, as the server shows it then: the relation is named with its
/// schema, and its columns by its bare name where it has no other.
pub(crate) fn with_relation(definition: &str, from: &ObjectName, to: &ObjectName) -> String {
    let full = |name: &ObjectName| {
        let schema = name.schema.as_deref().unwrap_or("public");
        format!("{}.{}", spelled(&ObjectName::new(schema)), spelled(&ObjectName::new(name.name.clone())))
    };
    let bare = |name: &ObjectName| spelled(&ObjectName::new(name.name.clone()));
    let text = exchanged(definition, &full(from), &full(to), |_, after| !after.starts_with(['.', '(']));
    let (old, new) = (format!("{}.", bare(from)), format!("{}.", bare(to)));
    if text == definition || old == new {
        return text;
    }
    exchanged(&text, &old, &new, |before, _| !before.ends_with('.'))
}

/// The definition of an object over a relation that is renamed. The body of a routine is a text to the server, and stays.
pub(crate) fn definition_with_relation(object: &Object, from: &ObjectName, to: &ObjectName) -> String {
    let is_routine = matches!(object.key.kind, ObjectKind::Function | ObjectKind::Procedure);
    let body = object.definition.find("AS $").filter(|_| is_routine).unwrap_or(object.definition.len());
    let (head, body) = object.definition.split_at(body);
    with_relation(head, from, to) + body
}

/// The text with every `old` outside of quoted literals exchanged that stands by itself.
fn exchanged(text: &str, old: &str, new: &str, fits: impl Fn(&str, &str) -> bool) -> String {
    let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '"');
    let (mut out, mut rest) = (String::new(), text);
    while let Some(c) = rest.chars().next() {
        if c == '\'' {
            let end = rest[1..].find('\'').map_or(rest.len(), |at| at + 2);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        if let Some(after) = rest.strip_prefix(old) {
            let begins = !out.ends_with(word);
            let ends = old.ends_with('.') || !after.starts_with(word);
            if begins && ends && fits(&out, after) {
                out.push_str(new);
                rest = after;
                continue;
            }
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// How a server may write the name: with its database schema or without, in quotes or not.
fn spellings(name: &ObjectName) -> Vec<String> {
    let quoted = |part: &str| format!("\"{}\"", part.replace('"', "\"\""));
    let mut all = vec![spelled(name), quoted(&name.name)];
    let schema = name.schema.as_deref().unwrap_or("public");
    for own in [spelled(&ObjectName::new(name.name.clone())), quoted(&name.name)] {
        all.push(format!("{}.{own}", spelled(&ObjectName::new(schema))));
        all.push(format!("{}.{own}", quoted(schema)));
    }
    // The longest first: the others are in it.
    all.sort_by_key(|text| std::cmp::Reverse(text.len()));
    all.dedup();
    all
}

/// With its database schema, as in a definition.
fn qualified(name: &ObjectName) -> String {
    spelled(&ObjectName { schema: Some(name.schema.clone().unwrap_or_else(|| "public".to_owned())), ..name.clone() })
}

fn spelled(name: &ObjectName) -> String {
    let part = |text: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let bare = text.chars().all(plain) && !text.starts_with(|c: char| c.is_ascii_digit()) && !text.is_empty();
        if bare { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
    };
    match &name.schema {
        Some(schema) => format!("{}.{}", part(schema), part(&name.name)),
        None => part(&name.name),
    }
}

/// The text with the type's name exchanged: a whole type, or behind every cast of an expression.
fn retyped(text: &str, old: &str, new: &str, is_type: bool) -> Option<String> {
    if is_type {
        let element = text.trim_end_matches("[]");
        return (element == old).then(|| format!("{new}{}", &text[element.len()..]));
    }
    let cast = format!("::{old}");
    let mut out = String::new();
    let mut rest = text;
    let mut changed = false;
    while let Some(at) = rest.find(&cast) {
        let end = at + cast.len();
        let ends =
            rest[end..].chars().next().is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '_' | '$' | '.' | '"'));
        out.push_str(&rest[..at]);
        if ends {
            out.push_str("::");
            out.push_str(new);
            changed = true;
        } else {
            out.push_str(&rest[at..end]);
        }
        rest = &rest[end..];
    }
    changed.then(|| out + rest)
}

/// Every type (`true`) and every expression (`false`) in which a type may be named.
fn each_text(schema: &mut Schema, mut change: impl FnMut(&mut String, bool)) {
    for table in schema.tables.values_mut() {
        let mut changed = (**table).clone();
        in_table(&mut changed, &mut change);
        if changed != **table {
            *table = Shared::from(changed);
        }
    }
    for domain in schema.domains.values_mut() {
        change(&mut domain.ty, true);
        domain.default.iter_mut().for_each(|text| change(text, false));
        domain.checks.values_mut().for_each(|check| change(&mut check.expr, false));
    }
}

/// Every definition. Types are named with their database schema in it.
fn each_definition(schema: &mut Schema, change: impl Fn(&mut String)) {
    for object in schema.objects.values_mut() {
        let mut changed = object.definition.clone();
        change(&mut changed);
        if changed != object.definition {
            object.definition = changed;
        }
    }
}

fn in_table(table: &mut Table, change: &mut impl FnMut(&mut String, bool)) {
    for column in &mut table.columns {
        change(&mut column.ty, true);
        column.default.iter_mut().for_each(|text| change(text, false));
        column.generated.iter_mut().for_each(|generated| change(&mut generated.expr, false));
    }
    table.checks.values_mut().for_each(|check| change(&mut check.expr, false));
    table.exclusions.values_mut().for_each(|exclusion| change(&mut exclusion.definition, false));
    for index in table.indexes.values_mut() {
        index.parts.iter_mut().filter_map(|part| part.expr.as_mut()).for_each(|text| change(text, false));
        index.predicate.iter_mut().for_each(|text| change(text, false));
    }
    table.partition_of.iter_mut().for_each(|of| change(&mut of.bound, false));
}

#[cfg(test)]
mod tests {
    use super::in_arrays;

    #[test]
    fn a_label_is_exchanged_where_it_is_a_whole_element() {
        let renamed = |text: &str, from: &str, to: &str| in_arrays(text, "'::e[]", from, to);
        assert_eq!(renamed("'{a,ab,a}'::e[]", "a", "c"), "'{c,ab,c}'::e[]");
        assert_eq!(renamed("'{\"a b\",x}'::e[]", "a b", "o'c"), "'{o''c,x}'::e[]");
        assert_eq!(
            renamed("f('a'::text, '{a}'::e[], '{a}'::e[])", "a", "x,y"),
            "f('a'::text, '{\"x,y\"}'::e[], '{\"x,y\"}'::e[])"
        );
        assert_eq!(renamed("'{}'::e[]", "a", "b"), "'{}'::e[]");
    }
}
