//! What a database schema holds beside tables and enumerated types, by name and by the statement that makes it.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use super::ObjectName;

/// In a definition it stands for the object's own name, so that a rename changes no definition.
pub const OWN_NAME: &str = "{name}";
/// In a definition it stands for the table that the object hangs on, so that the table's rename changes no definition.
pub const OWN_TABLE: &str = "{table}";

/// Kinds of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectKind {
    /// A database schema.
    Schema,
    /// An extension. What belongs to it is no object of its own.
    Extension,
    /// A composite or a range type.
    Type,
    /// A sequence that numbers no column.
    Sequence,
    /// A function, also one that a trigger runs.
    Function,
    /// A procedure.
    Procedure,
    /// A view.
    View,
    /// A materialized view, with its indexes.
    MaterializedView,
    /// A trigger.
    Trigger,
    /// A rewrite rule.
    Rule,
    /// A row security policy.
    Policy,
    /// That policies of a table are in force.
    RowSecurity,
    /// Extended statistics.
    Statistics,
    /// How a column is stored and what is known of its values; its name is the column's.
    ColumnSettings,
}

impl ObjectKind {
    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::Extension => "extension",
            Self::Type => "type",
            Self::Sequence => "sequence",
            Self::Function => "function",
            Self::Procedure => "procedure",
            Self::View => "view",
            Self::MaterializedView => "materialized view",
            Self::Trigger => "trigger",
            Self::Rule => "rule",
            Self::Policy => "policy",
            Self::RowSecurity => "row level security",
            Self::Statistics => "extended statistics",
            Self::ColumnSettings => "column settings",
        }
    }

    /// Whether statements of an application name it.
    pub const fn is_called(self) -> bool {
        matches!(
            self,
            Self::Type | Self::Sequence | Self::Function | Self::Procedure | Self::View | Self::MaterializedView
        )
    }

    /// Whether its name stands among those of tables, which are types as well.
    pub const fn is_relation(self) -> bool {
        matches!(self, Self::Type | Self::Sequence | Self::View | Self::MaterializedView)
    }

    /// Whether it goes with something that no definition can bring back: the position of a sequence, all that a database
    /// schema holds.
    pub const fn holds_data(self) -> bool {
        matches!(self, Self::Sequence | Self::Schema)
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What tells an object from all others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectKey {
    /// What it is.
    pub kind: ObjectKind,
    /// Its name. One that hangs on a table is named within that table, without a database schema; statistics are not.
    pub name: ObjectName,
    /// The types of a function's arguments, which are part of its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
    /// The table whose name the object's own name needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<ObjectName>,
}

impl ObjectKey {
    /// A key of an object that hangs on nothing.
    pub const fn new(kind: ObjectKind, name: ObjectName) -> Self {
        Self { kind, name, arguments: None, of: None }
    }

    /// How flags and messages name it: `next_invoice`, `public_name(text)`, `users.touch`.
    pub fn path(&self) -> String {
        match (&self.of, &self.arguments) {
            (Some(table), _) => format!("{table}.{}", self.name),
            (None, Some(arguments)) => format!("{}({arguments})", self.name),
            (None, None) => self.name.to_string(),
        }
    }

    /// A name that no table has, or that only this object has among tables: what a step touches is told by names.
    pub fn as_touched(&self) -> ObjectName {
        match self.kind {
            kind if kind.is_relation() => self.name.clone(),
            kind => ObjectName::new(format!("{kind} {}", self.path())),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.of, self.kind) {
            (Some(table), ObjectKind::RowSecurity) => write!(f, "row level security of `{table}`"),
            (Some(table), ObjectKind::ColumnSettings) => write!(f, "settings of column `{table}.{}`", self.name),
            (Some(table), kind) => write!(f, "{kind} `{}` on `{table}`", self.name),
            (None, kind) => write!(f, "{kind} `{}`", self.path()),
        }
    }
}

/// Something that an object needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[allow(missing_docs, reason = "table, column, name and arguments say what they are")]
pub enum Use {
    /// A column of a table or a view.
    Column { table: ObjectName, column: String },
    /// A table or view as a whole, or a sequence.
    Relation { name: ObjectName },
    /// A function.
    Function { name: ObjectName, arguments: String },
    /// A type.
    Type { name: ObjectName },
}

/// An object. Two are equal when the same statements make them: what they need follows from that.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// What it is and how it is called.
    pub key: ObjectKey,
    /// The statement that makes it, with [`OWN_NAME`] and [`OWN_TABLE`] in the place of names. Of a sequence the options alone.
    pub definition: String,
    /// Statements that complete it: indexes of a materialized view, comments on columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub completed_by: Vec<String>,
    /// The table that it is over, where that is no part of its name (statistics).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<ObjectName>,
    /// The column that a sequence belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owned_by: Option<(ObjectName, String)>,
    /// Comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Names and types of a view's columns or of a composite type's attributes, in their order; of a column's settings, the column and the storage of its type. It
    /// follows from the definition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<(String, String)>,
    /// What it needs. It follows from the definition.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub uses: BTreeSet<Use>,
    /// Statements that give it back to its owner and to those who may use it, for when it must be made again. No part of what
    /// it is: each database has its own roles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rights: Vec<String>,
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        // Taken apart, so that a new part of an object does not compile before it is compared or left out here.
        let Self { key, definition, completed_by, over, owned_by, comment, columns: _, uses: _, rights: _ } = self;
        *key == other.key
            && *definition == other.definition
            && *completed_by == other.completed_by
            && *over == other.over
            && *owned_by == other.owned_by
            && *comment == other.comment
    }
}

impl Eq for Object {}

impl Object {
    /// An object with nothing but a definition.
    pub fn new(key: ObjectKey, definition: impl Into<String>) -> Self {
        Self {
            key,
            definition: definition.into(),
            completed_by: Vec::new(),
            over: None,
            owned_by: None,
            comment: None,
            columns: Vec::new(),
            uses: BTreeSet::new(),
            rights: Vec::new(),
        }
    }

    /// The table that it hangs on, and goes with.
    pub fn table(&self) -> Option<&ObjectName> {
        self.key.of.as_ref().or(self.over.as_ref())
    }

    /// Without what follows from the rest or is each database's own.
    #[must_use]
    pub fn essence(&self) -> Self {
        Self { columns: Vec::new(), uses: BTreeSet::new(), rights: Vec::new(), ..self.clone() }
    }

    /// Whether also what follows from the definition is the same.
    pub fn same_in_full(&self, other: &Self) -> bool {
        self == other && self.columns == other.columns && self.uses == other.uses && self.rights == other.rights
    }

    /// Whether it needs that column.
    pub fn uses_column(&self, table: &ObjectName, column: &str) -> bool {
        self.uses.iter().any(|used| matches!(used, Use::Column { table: t, column: c } if t == table && c == column))
    }

    /// Whether it needs that table or view, or a column of it.
    pub fn uses_relation(&self, relation: &ObjectName) -> bool {
        self.uses.iter().any(|used| match used {
            Use::Column { table, .. } => table == relation,
            Use::Relation { name } => name == relation,
            Use::Function { .. } | Use::Type { .. } => false,
        })
    }

    /// Whether it needs that type.
    pub fn uses_type(&self, ty: &ObjectName) -> bool {
        self.uses.iter().any(|used| match used {
            Use::Type { name } => name == ty,
            // A function's arguments are told apart by it.
            Use::Function { arguments, .. } => arguments.contains(&ty.name),
            Use::Column { .. } | Use::Relation { .. } => false,
        })
    }

    /// Makes it follow a type to its new name; `renamed` gives a function's arguments.
    pub fn follow_type(&mut self, from: &ObjectName, to: &ObjectName, renamed: impl Fn(&str) -> String) {
        self.key.arguments = self.key.arguments.as_ref().map(|arguments| renamed(arguments));
        self.uses = std::mem::take(&mut self.uses)
            .into_iter()
            .map(|used| match used {
                Use::Type { name } if name == *from => Use::Type { name: to.clone() },
                Use::Function { name, arguments } => Use::Function { arguments: renamed(&arguments), name },
                other => other,
            })
            .collect();
    }

    /// Whether it needs that object.
    pub fn uses_object(&self, other: &ObjectKey) -> bool {
        match other.kind {
            // A composite type is a relation to the server, a range is none.
            ObjectKind::Type => self.uses_relation(&other.name) || self.uses_type(&other.name),
            kind if kind.is_relation() => self.uses_relation(&other.name),
            ObjectKind::Function | ObjectKind::Procedure => self.uses.iter().any(|used| {
                matches!(used, Use::Function { name, arguments }
                    if *name == other.name && Some(arguments) == other.arguments.as_ref())
            }),
            _ => false,
        }
    }

    /// Makes it follow a table to its new name.
    pub fn follow_table(&mut self, from: &ObjectName, to: &ObjectName) {
        let follow = |name: &mut ObjectName| {
            if name == from {
                name.clone_from(to);
            }
        };
        self.key.of.iter_mut().for_each(follow);
        self.over.iter_mut().for_each(follow);
        // A sequence moves with the table that it belongs to.
        if self.owned_by.as_ref().is_some_and(|(table, _)| table == from) && from.schema != to.schema {
            self.key.name.schema.clone_from(&to.schema);
        }
        self.owned_by.iter_mut().for_each(|(table, _)| follow(table));
        self.uses = std::mem::take(&mut self.uses)
            .into_iter()
            .map(|mut used| {
                match &mut used {
                    Use::Column { table: name, .. } | Use::Relation { name } => follow(name),
                    Use::Function { .. } | Use::Type { .. } => {}
                }
                used
            })
            .collect();
    }

    /// Makes it follow a column to its new name.
    pub fn follow_column(&mut self, of: &ObjectName, from: &str, to: &str) {
        self.owned_by.iter_mut().filter(|(table, column)| table == of && column == from).for_each(|(_, column)| {
            to.clone_into(column);
        });
        if self.key.kind == ObjectKind::ColumnSettings && self.key.of.as_ref() == Some(of) && self.key.name.name == from
        {
            to.clone_into(&mut self.key.name.name);
        }
        self.uses = std::mem::take(&mut self.uses)
            .into_iter()
            .map(|mut used| {
                if let Use::Column { table, column } = &mut used
                    && table == of
                    && column == from
                {
                    to.clone_into(column);
                }
                used
            })
            .collect();
    }
}

/// Serializes a map of objects as the list of its values, which carry their keys.
pub(super) mod as_list {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::{super::Shared, Object, ObjectKey};

    pub fn serialize<S: Serializer>(map: &BTreeMap<ObjectKey, Shared<Object>>, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(map.values())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<ObjectKey, Shared<Object>>, D::Error> {
        let list = Vec::<Shared<Object>>::deserialize(d)?;
        let count = list.len();
        let map: BTreeMap<_, _> = list.into_iter().map(|object| (object.key.clone(), object)).collect();
        if map.len() < count {
            return Err(serde::de::Error::custom("one object is listed twice"));
        }
        Ok(map)
    }
}
