//! The databases of a fleet: where the list comes from, and what must not be in it.

use std::{collections::BTreeMap, io::Read as _, path::Path};

use schemadiff::{
    backend::{
        Backend, TextRow,
        postgres::{Postgres, Tenant},
        sqlite::Sqlite,
    },
    model::Dialect,
};

use super::super::{args::FleetArgs, context::Context};
use crate::{
    Error, Kind, Result,
    address::{place, redact},
    dialect::dialect_of,
};

/// One database.
#[derive(Clone, PartialEq, Eq)]
pub struct Member {
    /// What it is called in all output; its address without the password where the list gives it no name.
    pub name: String,
    /// Its address.
    pub url: String,
}

impl Member {
    /// Whether it is one schema of a database.
    pub(super) fn is_tenant(&self) -> bool {
        Tenant::of_address(&self.url).is_ok_and(|(_, tenant)| tenant.is_some())
    }
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Member({} {})", self.name, redact(&self.url))
    }
}

/// The list that the options ask for; none when they ask for none.
pub(super) async fn members(context: &Context, args: &FleetArgs) -> Result<Option<Vec<Member>>> {
    let members = match (&args.fleet, &args.fleet_query) {
        (Some(file), _) => from_text(&read(file)?, &file.display().to_string())?,
        (None, Some(sql)) => asked(&context.database_url()?, sql).await?,
        (None, None) => return Ok(None),
    };
    check(&members)?;
    Ok(Some(members))
}

fn wrong(effect: impl Into<String>) -> Error {
    Error::new(Kind::Usage, "SD0230", effect)
}

fn read(file: &Path) -> Result<String> {
    let read = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    read.map_err(|e| wrong(format!("the list of databases {} cannot be read", file.display())).cause(e))
}

/// An address a line, perhaps behind a name; empty lines and those that begin with `#` do not count.
fn from_text(text: &str, shown: &str) -> Result<Vec<Member>> {
    // Some editors begin a file with a mark of its encoding.
    let text = text.trim_start_matches('\u{feff}');
    let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let member = |(at, line): (usize, &str)| {
        // The line is not repeated: it may hold a password.
        let here =
            || wrong(format!("line {} of {shown} names no database", at + 1)).help("write NAME ADDRESS, or ADDRESS");
        let (name, url) = match line.split_once(char::is_whitespace) {
            Some((name, url)) => (Some(name), url.trim()),
            None => (None, line),
        };
        dialect_of(url).map_err(|_| here())?;
        Ok(Member { name: name.map_or_else(|| redact(url), str::to_owned), url: url.to_owned() })
    };
    lines.map(member).collect()
}

async fn asked(url: &str, sql: &str) -> Result<Vec<Member>> {
    let rows = match dialect_of(url)? {
        Dialect::Sqlite => rows::<Sqlite>(url, sql).await?,
        _ => rows::<Postgres>(url, sql).await?,
    };
    let member = |row: TextRow| {
        let mut cells = row.into_iter().flatten();
        let (name, url) = match (cells.next(), cells.next()) {
            (Some(name), Some(url)) => (Some(name), url),
            (Some(url), None) => (None, url),
            _ => {
                return Err(
                    wrong("a row of --fleet-query names no database").help("select addresses, or names and addresses")
                );
            }
        };
        dialect_of(&url).map_err(|_| wrong("a row of --fleet-query holds something that is no address"))?;
        Ok(Member { name: name.unwrap_or_else(|| redact(&url)), url })
    };
    rows.into_iter().map(member).collect()
}

async fn rows<B: Backend>(url: &str, sql: &str) -> Result<Vec<TextRow>> {
    let mut db = B::connect(&B::target(url)?).await?;
    let rows = db.rows(sql, &[]).await;
    db.close().await;
    rows.map_err(|e| wrong("--fleet-query fails").cause(e))
}

/// Two members that are one database, or one schema of it, would be migrated beside each other; and a schema for each tenant cannot
/// be told by a search path, because a migration names the schema of everything.
fn check(members: &[Member]) -> Result<()> {
    if members.is_empty() {
        return Err(wrong("the list of databases is empty"));
    }
    let (mut names, mut places) = (BTreeMap::new(), BTreeMap::new());
    for member in members {
        if let Some(_other) = names.insert(&member.name, ()) {
            return Err(wrong(format!("two databases of the list are called {}", member.name))
                .help("give each a name of its own, or none: then it is called by its address"));
        }
        if member.url.to_ascii_lowercase().contains("search_path") {
            return Err(wrong(format!("the address of {} sets a search_path", member.name))
                .cause("migrations name the schema of every table, so they would all change the same one")
                .help("name the schema of a tenant with `schema`: postgres://user@host/database?schema=tenant_1"));
        }
        if let Some(other) = places.insert(place(&member.url), &member.name) {
            return Err(wrong(format!("{other} and {} are the same database", member.name))
                .help("remove one of them: they would be migrated beside each other"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_names_and_comments_and_never_show_passwords() -> Result<()> {
        let text = "# shards\n\none postgres://a:hunter2@h/one\npostgres://a:hunter2@h/two\n  x  sqlite:x.db  \n";
        let members = from_text(text, "fleet.txt")?;
        let names: Vec<_> = members.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["one", "postgres://a@h/two", "x"]);
        check(&members)?;
        assert!(!format!("{members:?}").contains("hunter2"));
        let error = from_text("a postgres://h/a\nsomething hunter2", "fleet.txt").err().map(|e| e.to_string());
        assert_eq!(error.as_deref().map(|e| (e.contains("line 2"), e.contains("hunter2"))), Some((true, false)));
        Ok(())
    }

    #[test]
    fn one_database_twice_is_refused() -> Result<()> {
        for text in [
            "",
            "postgres://a:x@h/one\nother postgres://b:y@h:5432/one?sslmode=require",
            "a sqlite:x.db\na sqlite:y.db",
            "a postgres://localhost/one\nb postgres://u@127.0.0.1:5432/one",
            "a postgres://h/one?options=-csearch_path%3Dt1",
        ] {
            assert!(check(&from_text(text, "-")?).is_err(), "{text}");
        }
        Ok(())
    }
}
