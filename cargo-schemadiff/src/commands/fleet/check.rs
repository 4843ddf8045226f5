//! Whether each database of a fleet is what its ledger says.

use std::sync::Arc;

use schemadiff::embed;
use serde_json::Value;
use tokio::sync::watch;

use super::{Bar, Ended, Member, document, each};
use crate::{
    Error, Kind, Result,
    commands::{args::FleetArgs, context::Context, drift},
    migrations::Migrations,
    report::{paint, style},
};

/// What was found in a fleet.
pub(in crate::commands) struct Checked {
    /// For the document.
    pub databases: Vec<Value>,
    /// A line for each database that is not as it shall be.
    pub lines: Vec<String>,
    /// How many were looked at.
    pub count: usize,
    /// Those that could not be.
    pub unreadable: Option<Error>,
}

/// Compares each with what its migrations made it.
pub(in crate::commands) async fn check(
    context: &Context,
    args: &FleetArgs,
    members: Vec<Member>,
    ours: Migrations,
) -> Result<Checked> {
    // Looking is harmless: all of them, whoever cannot be reached.
    let args = FleetArgs { canary: 0, keep_going: true, ..args.clone() };
    let migrations = embed::Migrations::load(context.config.dir())?;
    let (_go, stop) = watch::channel(false);
    let bar = Bar::new(crate::report::Report { quiet: true, ..context.report }, members.len());
    let (ours, count) = (Arc::new(ours), members.len());
    let work = {
        let context = context.clone();
        move |member: Member| {
            let (context, ours, migrations) = (context.clone(), Arc::clone(&ours), migrations.clone());
            async move { drift::refuse(&context, &member.url, &ours, &migrations).await }
        }
    };
    let found = each(members, &args, &stop, &bar, |(): &()| String::new(), work).await;
    bar.end();
    let databases = found.iter().map(|(member, ended)| {
        let mut database = document(member, ended, |()| serde_json::json!({}));
        database["state"] = state(ended).into();
        database
    });
    let databases = databases.collect();
    let failed = found.iter().filter_map(|(member, ended)| match ended {
        Ended::Failed(error) => Some((member, error)),
        Ended::Done(()) | Ended::Left => None,
    });
    let lines = failed.map(|(member, error)| format!("  {} {}\n", paint(style::BAD, &member.name), one_line(error)));
    let lines = lines.collect();
    let unreadable = found.iter().filter(|(_, ended)| state(ended) == "unreadable").count();
    let unreadable = (unreadable > 0).then(|| {
        Error::new(Kind::Database, "SD0513", format!("{unreadable} of {count} databases could not be read"))
            .help("their errors are in the list above")
    });
    Ok(Checked { databases, lines, count, unreadable })
}

fn state(ended: &Ended<()>) -> &'static str {
    match ended {
        Ended::Done(()) => "agrees",
        Ended::Failed(error) if error.code == drift::DRIFTED => "drifted",
        Ended::Failed(_) | Ended::Left => "unreadable",
    }
}

fn one_line(error: &Error) -> String {
    error.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" ")
}
