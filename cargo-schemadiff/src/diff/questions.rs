//! What a diff may not decide by itself, collected so that the user answers everything in one go.

use schemadiff::model::{Column, EnumType, Object, ObjectKind, ObjectName, Shared, Table};

use super::{DiffOptions, hints::column_name};
use crate::{Error, Kind, Result};

/// An add and a drop that may be a rename.
struct MaybeRename {
    old: String,
    new: String,
    /// The attribute that says it is a rename.
    attribute: String,
}

/// Open questions of a diff.
pub(super) struct Questions<'o> {
    options: &'o DiffOptions,
    renames: Vec<MaybeRename>,
    drops: Vec<String>,
}

impl<'o> Questions<'o> {
    pub(super) fn new(options: &'o DiffOptions) -> Self {
        Self { options, renames: Vec::new(), drops: Vec::new() }
    }

    /// Drops of tables against additions of tables.
    pub(super) fn tables(&mut self, added: &[&Shared<Table>], dropped: &[&Shared<Table>]) {
        for old in dropped {
            let name = old.name.to_string();
            if self.options.allowed_drops.contains(&name) {
                continue;
            }
            match added.iter().find(|new| alike(old, new)) {
                Some(new) => self.renames.push(MaybeRename {
                    attribute: format!("#[table(renamed_from = \"{name}\")]"),
                    new: new.name.to_string(),
                    old: name,
                }),
                None => self.drops.push(name),
            }
        }
    }

    /// Drops of columns against additions of columns on one table.
    pub(super) fn columns(&mut self, table: &ObjectName, added: &[&Column], dropped: &[&Column]) {
        for old in dropped {
            let name = column_name(table, &old.name);
            if self.options.allowed_drops.contains(&name) {
                continue;
            }
            let only_candidates = added.len() == 1 && dropped.len() == 1;
            let same_class = |new: &&&Column| only_candidates || type_class(&new.ty) == type_class(&old.ty);
            let compatible: Vec<_> = added.iter().filter(same_class).collect();
            if compatible.is_empty() {
                self.drops.push(name);
                continue;
            }
            self.renames.extend(compatible.into_iter().map(|new| MaybeRename {
                old: name.clone(),
                new: column_name(table, &new.name),
                attribute: format!("#[column(renamed_from = \"{}\")]", old.name),
            }));
        }
    }

    /// Labels that a type loses against those that it gets.
    pub(super) fn labels(&mut self, old: &EnumType, new: &EnumType) {
        let lost = old.values.iter().filter(|label| !new.values.contains(label));
        let came: Vec<_> = new.values.iter().filter(|label| !old.values.contains(label)).collect();
        let name = |label: &String| column_name(&new.name, label);
        for label in lost.filter(|label| !self.options.allowed_drops.contains(&name(label))) {
            self.renames.extend(came.iter().map(|to| MaybeRename {
                old: name(label),
                new: name(to),
                attribute: format!("#[column_type(renamed_from = \"{label}\")]"),
            }));
        }
    }

    /// Drops of what is no table against additions of the same kind.
    pub(super) fn objects(&mut self, added: &[&Shared<Object>], dropped: &[&Shared<Object>]) {
        for old in dropped.iter().filter(|old| old.key.kind.holds_data()) {
            let name = old.key.path();
            if self.options.allowed_drops.contains(&name) {
                continue;
            }
            let can_be = |new: &&&Shared<Object>| new.key.kind == old.key.kind && old.key.kind == ObjectKind::Sequence;
            let candidates: Vec<_> = added.iter().filter(can_be).collect();
            if candidates.is_empty() {
                // The position of a sequence comes back with no definition. What a database schema holds has names of its own.
                if old.key.kind != ObjectKind::Schema || !self.is_emptied(&old.key.name.name) {
                    self.drops.push(name);
                }
                continue;
            }
            self.renames.extend(candidates.into_iter().map(|new| MaybeRename {
                old: name.clone(),
                new: new.key.path(),
                attribute: String::new(),
            }));
        }
    }

    /// Whether tables of the database schema are acknowledged by name: then the schema without them is no loss.
    fn is_emptied(&self, schema: &str) -> bool {
        let is_in = |name: &String| name.parse::<ObjectName>().is_ok_and(|name| name.schema.as_deref() == Some(schema));
        self.options.allowed_drops.iter().any(is_in)
    }

    /// An error with all questions, if there are any.
    pub(super) fn answered(self) -> Result<()> {
        if let Some(first) = self.renames.first() {
            let mut error = Error::new(
                Kind::Refused,
                "SD0601",
                format!("cannot tell whether `{}` was renamed to `{}` or dropped", first.old, first.new),
            )
            .cause("one is gone, the other is new, and a wrong guess would lose the data");
            for MaybeRename { old, new, attribute } in &self.renames {
                let flag = format!("pass --rename {}={}", shell_word(old), shell_word(new));
                error = error.help(match attribute.as_str() {
                    "" => format!("renamed: {flag}"),
                    attribute => format!("renamed: put {attribute} on `{new}`, or {flag}"),
                });
            }
            let mut olds: Vec<_> = self.renames.iter().map(|r| r.old.clone()).chain(self.drops).collect();
            olds.dedup();
            let flags: Vec<_> = olds.iter().map(|old| format!("--allow-drop {}", shell_word(old))).collect();
            return Err(error.help(format!("dropped, the data may go: pass {}", flags.join(" "))));
        }
        if self.drops.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = self.drops.iter().map(|name| format!("`{name}`")).collect();
        let flags: Vec<_> = self.drops.iter().map(|name| format!("--allow-drop {}", shell_word(name))).collect();
        Err(Error::new(Kind::Refused, "SD0602", format!("dropping {} loses data", names.join(", ")))
            .cause("the other side no longer has it; a drop is planned only when it is acknowledged by name")
            .help(format!("if the data may go, pass {}", flags.join(" "))))
    }
}

/// The word in single quotes where a shell would take it apart.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Whether one table may be the other under a new name: at least half of the larger one's columns are in both.
fn alike(old: &Table, new: &Table) -> bool {
    let same = |c: &&Column| new.column(&c.name).is_some_and(|n| type_class(&n.ty) == type_class(&c.ty));
    let common = old.columns.iter().filter(same).count();
    common > 0 && common * 2 >= old.columns.len().max(new.columns.len())
}

/// Families of types between which a renamed column may move.
#[derive(Debug, PartialEq, Eq)]
enum TypeClass<'t> {
    Text,
    Number,
    Bool,
    Time,
    Other(&'t str),
}

fn type_class(ty: &str) -> TypeClass<'_> {
    let lower = ty.to_ascii_lowercase();
    let starts = |words: &[&str]| words.iter().any(|word| lower.starts_with(word));
    if starts(&["text", "char", "varchar", "citext", "name", "clob"]) {
        TypeClass::Text
    } else if starts(&["int4range", "int8range", "interval"]) {
        TypeClass::Other(ty)
    } else if starts(&["small", "int", "bigint", "numeric", "decimal", "real", "double", "float", "money"]) {
        TypeClass::Number
    } else if starts(&["bool"]) {
        TypeClass::Bool
    } else if starts(&["timestamp", "date"]) {
        TypeClass::Time
    } else {
        TypeClass::Other(ty)
    }
}
