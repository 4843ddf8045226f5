//! Domains.

use schemadiff::model::{Check, Domain, ObjectName};

use super::{
    constraint,
    names::{ident, qualified},
    table::{collation, comment_on, in_parentheses},
};

/// ALTER DOMAIN.
pub(super) fn alter(name: &ObjectName, what: &str) -> String {
    format!("ALTER DOMAIN {} {what}", qualified(name))
}

/// CREATE DOMAIN and its comments. Inside CREATE DOMAIN the server takes no NOT VALID.
pub(super) fn create(domain: &Domain) -> Vec<String> {
    let mut sql = format!("CREATE DOMAIN {} AS {}", qualified(&domain.name), domain.ty);
    if let Some(name) = &domain.collation {
        sql += &format!(" COLLATE {}", collation(name));
    }
    if let Some(default) = &domain.default {
        sql += &format!(" DEFAULT {}", in_parentheses(default));
    }
    if domain.not_null {
        sql += " NOT NULL";
    }
    for (name, check) in domain.checks.iter().filter(|(_, check)| !check.not_valid) {
        sql += &format!(" {}", constraint::check(name, check));
    }
    let mut statements = vec![sql];
    let unproven = domain.checks.iter().filter(|(_, check)| check.not_valid);
    statements.extend(unproven.map(|(name, check)| add_check(&domain.name, name, check)));
    statements.extend(domain.comment.iter().map(|text| comment(&domain.name, Some(text))));
    for (name, check) in &domain.checks {
        statements.extend(check.comment.iter().map(|text| comment_on_check(&domain.name, name, Some(text))));
    }
    statements
}

/// ADD CONSTRAINT.
pub(super) fn add_check(domain: &ObjectName, name: &str, check: &Check) -> String {
    let not_valid = if check.not_valid { " NOT VALID" } else { "" };
    alter(domain, &format!("ADD {}{not_valid}", constraint::check(name, check)))
}

/// SET DEFAULT or DROP DEFAULT.
pub(super) fn default(domain: &ObjectName, to: Option<&str>) -> String {
    match to {
        Some(expr) => alter(domain, &format!("SET DEFAULT {}", in_parentheses(expr))),
        None => alter(domain, "DROP DEFAULT"),
    }
}

/// RENAME CONSTRAINT.
pub(super) fn rename_check(domain: &ObjectName, from: &str, to: &str) -> String {
    alter(domain, &format!("RENAME CONSTRAINT {} TO {}", ident(from), ident(to)))
}

/// COMMENT ON DOMAIN.
pub(super) fn comment(domain: &ObjectName, text: Option<&str>) -> String {
    comment_on("DOMAIN", &qualified(domain), text)
}

/// COMMENT ON CONSTRAINT .. ON DOMAIN.
pub(super) fn comment_on_check(domain: &ObjectName, name: &str, text: Option<&str>) -> String {
    comment_on("CONSTRAINT", &format!("{} ON DOMAIN {}", ident(name), qualified(domain)), text)
}
