//! Domains: types with rules of their own.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};

use super::{Check, ObjectName, Schema, Table, name};

/// How far domains over domains are followed; no server lets them form a circle, but a file can say anything.
const DEPTH: usize = 32;

/// A domain: a type with a default and rules that all columns of it share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    /// Name of the type.
    pub name: ObjectName,
    /// The type that it is made of, in the server's spelling.
    #[serde(rename = "type")]
    pub ty: String,
    /// Whether NULL is a value of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_null: bool,
    /// The default of columns that have none of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Collation, `None` for that of the type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collation: Option<String>,
    /// Rules by name; `VALUE` in an expression is the value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub checks: BTreeMap<String, Check>,
    /// Comment on the type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

impl Domain {
    /// A domain without default and rules.
    pub fn over(name: ObjectName, ty: impl Into<String>) -> Self {
        Self {
            name,
            ty: ty.into(),
            not_null: false,
            default: None,
            collation: None,
            checks: BTreeMap::new(),
            comment: None,
        }
    }
}

impl name::Named for Domain {
    fn object_name(&self) -> &ObjectName {
        &self.name
    }
}

impl ObjectName {
    /// Whether a type, as the server writes it, is the type of this name.
    pub fn is_type(&self, ty: &str) -> bool {
        ty.parse::<Self>().is_ok_and(|found| {
            found.name == self.name
                && (found.schema == self.schema || self.schema.is_none() && found.schema.as_deref() == Some("public"))
        })
    }
}

impl Schema {
    /// The domain that a type, as the server writes it, names.
    pub fn domain(&self, ty: &str) -> Option<&Domain> {
        if self.domains.is_empty() {
            return None;
        }
        self.domains.values().find(|domain| domain.name.is_type(ty))
    }

    /// A domain, and those that it is made of.
    pub fn domains_of<'s>(&'s self, ty: &str) -> Vec<&'s Domain> {
        let mut found: Vec<&Domain> = self.domain(ty).into_iter().collect();
        while let Some(next) = found.last().and_then(|last| self.domain(&last.ty)).filter(|_| found.len() < DEPTH) {
            found.push(next);
        }
        found
    }

    /// The type that values of a type are made of: itself, if it is no domain.
    pub fn base_type<'s>(&'s self, ty: &'s str) -> &'s str {
        self.domains_of(ty).last().map_or(ty, |domain| domain.ty.as_str())
    }

    /// All domains, those that others are made of before these.
    pub fn domains_inner_first(&self) -> Vec<&Domain> {
        let mut domains: Vec<&Domain> = self.domains.values().collect();
        domains.sort_by_key(|domain| self.domains_of(domain.ty.trim_end_matches("[]")).len());
        domains
    }

    /// Whether the type is a domain that refuses some values of its base type.
    pub fn constrains(&self, ty: &str) -> bool {
        self.domains_of(ty).iter().any(|domain| domain.not_null || !domain.checks.is_empty())
    }

    /// All rules that values of a type must fulfil, by name.
    pub fn rules(&self, ty: &str) -> Vec<(&String, &Check)> {
        self.domains_of(ty).into_iter().flat_map(|domain| &domain.checks).collect()
    }

    /// Tables with columns of the domain, of a domain over it, or of arrays of them.
    pub fn tables_of(&self, domain: &ObjectName) -> Vec<&ObjectName> {
        let uses = |ty: &str| {
            let element = ty.trim_end_matches("[]");
            self.domains_of(element).iter().any(|found| found.name == *domain)
        };
        self.tables.values().filter(|t| t.columns.iter().any(|c| uses(&c.ty))).map(|t| &t.name).collect()
    }

    /// The table with what its columns have from their domains: NOT NULL and defaults. The types stay what they are.
    pub fn with_domains<'t>(&self, table: Cow<'t, Table>) -> Cow<'t, Table> {
        if self.domains.is_empty() || !table.columns.iter().any(|c| self.domain(&c.ty).is_some()) {
            return table;
        }
        let mut table = table.into_owned();
        for column in &mut table.columns {
            let domains = self.domains_of(&column.ty);
            column.nullable &= !domains.iter().any(|domain| domain.not_null);
            let default = domains.iter().find_map(|domain| domain.default.as_ref());
            if column.default.is_none() && column.generated.is_none() && column.identity.is_none() {
                column.default = default.cloned();
            }
        }
        Cow::Owned(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_names_a_domain_in_whatever_way_the_server_writes_it() {
        for (name, ty, is) in [
            (ObjectName::new("email"), "email", true),
            (ObjectName::new("email"), "public.email", true),
            (ObjectName::new("E mail"), "\"E mail\"", true),
            (ObjectName::in_schema(Some("s"), "email"), "s.email", true),
            (ObjectName::in_schema(Some("s"), "email"), "email", false),
            (ObjectName::new("email"), "s.email", false),
            (ObjectName::new("email"), "email[]", false),
            (ObjectName::new("email"), "character varying(20)", false),
        ] {
            assert_eq!(name.is_type(ty), is, "{name} {ty}");
        }
    }

    #[test]
    fn domains_over_domains_are_followed_to_their_end() {
        let mut schema = Schema::default();
        let mut outer = Domain::over(ObjectName::new("outer"), "inner");
        outer.default = Some("1".into());
        let mut inner = Domain::over(ObjectName::new("inner"), "integer");
        inner.not_null = true;
        for domain in [outer, inner] {
            schema.domains.insert(domain.name.clone(), domain);
        }
        assert_eq!(schema.base_type("outer"), "integer");
        assert!(schema.constrains("outer"));
        assert!(!schema.constrains("integer"));
    }
}
