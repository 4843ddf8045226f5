//! `cargo schemadiff check`: structs, lock file and migrations agree. No database, so that CI needs none. Of a
//! fleet: lock file, migrations and databases agree. No crate, so that whoever looks after databases needs none.

use schemadiff::{
    compat::serves,
    model::{Fingerprint, between},
};
use serde_json::json;

use super::{
    Outcome,
    args::{CheckArgs, IntentArgs},
    compare::{Spelling, compare},
    context::Context,
    fleet,
};
use crate::{
    Error, Kind, Result,
    migrations::Migrations,
    report::{JSON_FORMAT, describe::first_differences, error_json, paint, style},
    side::Side,
};

pub(super) async fn run(context: &Context, args: &CheckArgs) -> Result<Outcome> {
    let dir = context.config.dir();
    if context.config.args.dir.is_some() && !dir.is_dir() {
        return Err(Error::new(Kind::Migrations, "SD0420", format!("{} cannot be read", dir.display()))
            .cause("there is no such directory")
            .help("check --dir; the first migration is written with `cargo schemadiff new NAME`"));
    }
    let (migrations, mut findings) = Migrations::inspect(&dir);
    let (members, count) = (fleet::members(context, &args.fleet).await?, migrations.plans.len());
    let mut checked = None;
    // What the lock file says is only worth comparing when it can be trusted.
    match members {
        _ if !findings.is_empty() => {}
        Some(members) => checked = Some(fleet::check(context, &args.fleet, members, migrations).await?),
        None => findings.extend(structs(context, &migrations).await?),
    }
    let report = context.report;
    let mut document = json!({
        "format": JSON_FORMAT,
        "command": "check",
        "dir": dir.display().to_string(),
        "migrations": count,
        "agree": findings.is_empty(),
        "findings": findings.iter().map(error_json).collect::<Vec<_>>(),
    });
    if let Some(checked) = &checked {
        document["databases"] = json!(checked.databases);
    }
    report.json(&document)?;
    for finding in &findings {
        let text = finding.to_string();
        let (head, rest) = text.split_once(": ").unwrap_or(("error", &text));
        report.say(format!("{}: {rest}\n", paint(style::BAD, head)))?;
    }
    if !findings.is_empty() {
        return Ok(Outcome::Differences);
    }
    if !report.quiet {
        let structs = if checked.is_none() { "structs, " } else { "" };
        let text = format!("{structs}lock file and {count} migration{} agree", if count == 1 { "" } else { "s" });
        report.say(format!("{}\n", paint(style::GOOD, text)))?;
    }
    let Some(checked) = checked else { return Ok(Outcome::Done) };
    let (other, all) = (checked.lines.len(), checked.count);
    report.say(
        checked.lines.concat() + &format!("{} of {all} databases are what their migrations made them\n", all - other),
    )?;
    match checked.unreadable {
        Some(error) => Ok(Outcome::Failed(error)),
        None if other > 0 => Ok(Outcome::Differences),
        None => Ok(Outcome::Done),
    }
}

/// What the structs and the lock file say differently.
async fn structs(context: &Context, migrations: &Migrations) -> Result<Option<Error>> {
    let intent = IntentArgs::default();
    let comparison = compare(context, &Side::Lock, &Side::Crate, &intent, migrations, Spelling::Offline).await?;
    if Fingerprint::of(&comparison.current) == Fingerprint::of(&comparison.desired) {
        return Ok(None);
    }
    let differences = between(&comparison.current, &comparison.desired);
    // Whether that matters to code that is deployed as it is.
    let served = match serves(comparison.dialect, &comparison.current, &comparison.desired) {
        Ok(()) => "code with these structs runs with what the migrations make all the same".to_owned(),
        Err(reasons) => {
            let reasons = reasons.iter().take(3).map(ToString::to_string).collect::<Vec<_>>().join("; ");
            format!("code with these structs cannot run with what the migrations make: {reasons}")
        }
    };
    Ok(Some(
        Error::new(Kind::Migrations, "SD0436", "the structs are not what the lock file says")
            .cause(format!("{}; {served}", first_differences(&differences, "in the structs")))
            .help("write the migration with `cargo schemadiff new NAME` and commit it")
            .help("or take the change to the structs back"),
    ))
}
