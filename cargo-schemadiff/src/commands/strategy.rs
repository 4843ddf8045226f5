//! Which of the two ways a plan takes: compatibility views for the old version, or synced columns.
//!
//! Views move no data and let a type change under its name, but every connection of the old version must have been opened
//! through the hook, and some statements do not work through a view. So they are taken when something vouches for the
//! connections (`hooked-apps` in `schemadiff.toml`, or the leases of what runs now), and no statement is known that would
//! fail. The runtime asks for the connections again before each step.

use std::path::{Path, PathBuf};

use schemadiff::{
    embed::INITIAL,
    lockstep::{Connections, admin},
    model::ObjectName,
    plan::{Overlap, Strategy},
};
use serde::Deserialize;

use super::{compare::Comparison, context::Context};
use crate::{Error, Kind, Result, config::StrategyArg, dialect::ddl};

/// Chooses for a migration that follows `parent`.
///
/// # Errors
/// When views are asked for and cannot do.
pub(super) async fn choose(
    context: &Context,
    asked: Option<StrategyArg>,
    comparison: &Comparison,
    parent: Option<&str>,
) -> Result<Strategy> {
    let asked = asked.or(context.config.file.strategy).unwrap_or_default();
    if asked == StrategyArg::Synced {
        return Ok(Strategy::synced("it was asked for"));
    }
    let can = ddl(comparison.dialect, comparison.version)?.capabilities();
    if !can.updatable_views {
        return match asked {
            StrategyArg::Views => Err(Error::new(Kind::Refused, "SD0630", "the old version cannot be given views")
                .cause(format!("views of {} do not take every statement that its tables take", comparison.dialect))
                .help("leave --strategy away")),
            StrategyArg::Auto | StrategyArg::Synced => Ok(Strategy::synced("this engine has no other")),
        };
    }
    let tables = changed_tables(comparison);
    let mut limits = if can.views_follow_policies { Vec::new() } else { row_level_security(comparison, &tables) };
    limits.extend(queries_past_views(&context.config.base, &tables)?);
    let vouched = vouch(context, parent.unwrap_or(INITIAL)).await;
    match (asked, vouched) {
        (StrategyArg::Views, _) if !limits.is_empty() => Err(refused(&limits)),
        (StrategyArg::Views, vouched) => by_request(context, vouched),
        (_, Err(why)) => Ok(Strategy::synced(why)),
        (_, Ok(_)) if !limits.is_empty() => Ok(Strategy::synced(limits.join("; "))),
        (_, Ok((apps, why))) => Ok(Strategy { way: Overlap::Views, why, apps }),
    }
}

fn refused(limits: &[String]) -> Error {
    Error::new(Kind::Refused, "SD0631", "the old version cannot go on behind views")
        .cause(limits.join("; "))
        .help("take the other way: --strategy synced")
        .help("or change these queries in a release before this one")
}

/// Asked for by name: whoever says so answers for the connections, but somebody must be named.
fn by_request(context: &Context, vouched: Result<(Vec<String>, String), String>) -> Result<Strategy> {
    let apps = match vouched {
        Ok((apps, _)) => apps,
        Err(_) => context.config.file.app.clone().into_iter().collect(),
    };
    if apps.is_empty() {
        return Err(Error::new(Kind::Usage, "SD0218", "it is not known whose connections see the views")
            .cause("no instance of the old version runs in this database, and schemadiff.toml names no application")
            .help("write `hooked-apps = [\"shop\"]` into schemadiff.toml, with the names that are given to Lockstep::builder"));
    }
    Ok(Strategy { way: Overlap::Views, why: "it was asked for".to_owned(), apps })
}

/// The applications for whose connections something vouches, and what; or why nothing does.
async fn vouch(context: &Context, version: &str) -> Result<(Vec<String>, String), String> {
    let named = &context.config.file.hooked_apps;
    if !named.is_empty() {
        let list = named.join(", ");
        return Ok((
            named.clone(),
            format!("schemadiff.toml says that every connection of {list} is opened through the hook"),
        ));
    }
    let unknown = "nothing shows that every connection of the old version is opened through the hook";
    let url = match context.config.database_url() {
        Ok(Some(url)) => url,
        Ok(None) | Err(_) => return Err(format!("{unknown}: no database is named, and `hooked-apps` is not set")),
    };
    match admin::connections_of(&url, version).await {
        Ok(Connections { apps, .. }) if apps.is_empty() => {
            Err(format!("{unknown}: none runs in this database, and `hooked-apps` is not set"))
        }
        Ok(Connections { against, .. }) if !against.is_empty() => Err(against.join("; ")),
        Ok(Connections { apps, .. }) => {
            let list = apps.join(", ");
            Ok((apps, format!("every connection of {list} {version} that is open was opened through the hook")))
        }
        // Its words may hold parts of an address; which error it was is enough here.
        Err(error) => Err(format!("{unknown}: the database could not be asked ({})", error.code())),
    }
}

/// The names under which old code knows the tables that change.
fn changed_tables(comparison: &Comparison) -> Vec<String> {
    let changes = comparison.changes().unwrap_or_default();
    let mut tables: Vec<String> = changes
        .iter()
        .filter_map(|change| change.table())
        .map(|table| comparison.hints.renamed_tables.get(table).unwrap_or(table))
        .filter(|table| table.schema.is_none() && comparison.current.tables.contains_key(*table))
        .map(|table| table.name.clone())
        .collect();
    tables.sort();
    tables.dedup();
    tables
}

/// Where a view reads and writes with the rights of its owner, it goes past the policies.
fn row_level_security(comparison: &Comparison, tables: &[String]) -> Vec<String> {
    let has = |table: &&String| comparison.current.has_row_security(&ObjectName::new(table.as_str()));
    tables.iter().filter(has).map(|table| format!("`{table}` has row level security, which a view goes past")).collect()
}

/// A query as `cargo sqlx prepare` keeps it.
#[derive(Deserialize)]
struct Prepared {
    query: String,
}

/// The queries in the nearest `.sqlx` that a view would break, in words.
fn queries_past_views(base: &Path, tables: &[String]) -> Result<Vec<String>> {
    let Some(dir) = base.ancestors().map(|dir| dir.join(".sqlx")).find(|dir| dir.is_dir()) else {
        return Ok(Vec::new());
    };
    let unreadable = |path: &Path, cause: String| {
        Error::new(Kind::Project, "SD0371", format!("{} cannot be read", path.display()))
            .cause(cause)
            .help("make it again: cargo sqlx prepare")
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(&dir)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(|e| unreadable(&dir, e.to_string()))?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let mut found = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).map_err(|e| unreadable(&path, e.to_string()))?;
        let prepared: Prepared = serde_json::from_str(&text).map_err(|e| unreadable(&path, e.to_string()))?;
        if let Some(problem) = tables.iter().find_map(|table| limit_of(&prepared.query, table)) {
            found.push(format!("{} {problem}", path.file_name().unwrap_or_default().to_string_lossy()));
        }
    }
    Ok(found)
}

/// Why a query does not work when the table is a view, if it does not.
fn limit_of(query: &str, table: &str) -> Option<String> {
    let words = words(query);
    let is = |word: &str, text: &str| word.eq_ignore_ascii_case(text);
    if !words.iter().any(|word| is(word, table)) {
        return None;
    }
    let follows = |pattern: &[&str]| {
        words.windows(pattern.len()).any(|window| window.iter().zip(pattern).all(|(word, text)| is(word, text)))
    };
    match words.first() {
        Some(first) if is(first, "copy") => return Some(format!("copies into or out of `{table}`")),
        Some(first) if is(first, "truncate") => return Some(format!("truncates `{table}`")),
        _ => {}
    }
    if follows(&["on", "conflict", "on", "constraint"]) {
        return Some(format!("names a constraint of `{table}` in ON CONFLICT"));
    }
    follows(&["public", ".", table]).then(|| format!("names `{table}` with its database schema"))
}

/// Words, quoted names without their quotes, and dots; what stands in literals and comments is left out.
fn words(query: &str) -> Vec<String> {
    let (mut words, mut rest) = (Vec::new(), query);
    while let Some(c) = rest.chars().next() {
        let len = match c {
            '"' | '\'' => {
                let end = rest[1..].find(c).map_or(rest.len(), |at| at + 2);
                if c == '"' {
                    words.push(rest[1..end].trim_end_matches('"').to_owned());
                }
                end
            }
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |at| at + 2),
            c if c.is_alphanumeric() || c == '_' => {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(rest.len());
                words.push(rest[..end].to_owned());
                end
            }
            '.' => {
                words.push(".".to_owned());
                1
            }
            c => c.len_utf8(),
        };
        rest = &rest[len..];
    }
    words
}

#[cfg(test)]
mod tests {
    use super::limit_of;

    #[test]
    fn statements_that_no_view_takes_are_known() {
        let broken = [
            "COPY users FROM STDIN",
            "truncate  table users",
            "INSERT INTO users (id) VALUES ($1) ON CONFLICT ON CONSTRAINT users_pkey DO NOTHING",
            "SELECT id FROM public.users",
            "SELECT id FROM \"public\" . \"users\" -- all",
        ];
        for query in broken {
            assert!(limit_of(query, "users").is_some(), "{query}");
        }
        let fine = [
            "SELECT id FROM users WHERE note = 'copy public.users' /* public.users */",
            "INSERT INTO users (id) VALUES ($1) ON CONFLICT (id) DO NOTHING",
            "TRUNCATE orders",
            "SELECT copy FROM users",
            "SELECT users.id FROM users",
        ];
        for query in fine {
            assert_eq!(limit_of(query, "users"), None, "{query}");
        }
    }
}
