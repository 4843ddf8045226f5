//! `undo --fleet` and `purge --fleet`: what contract has set aside comes back, or goes for good, on all of them.

use std::sync::Arc;

use schemadiff::lockstep::admin::{self, ApplyOptions};
use serde_json::json;

use super::{Bar, Member, Named, document, each, finish, named};
use crate::{
    Result,
    commands::{
        Outcome,
        apply::stop_on_interruption,
        args::{PurgeArgs, UndoArgs},
        context::Context,
        undo::{migrations, options},
    },
};

/// Takes the contract phase of a migration back where something of it is kept; the others are left as they are.
pub(in crate::commands) async fn undo(context: &Context, args: &UndoArgs, members: Vec<Member>) -> Result<Outcome> {
    let (migrations, id) = (migrations(context)?, named(args.migration.as_ref(), "undo")?);
    let stop = stop_on_interruption();
    let options = ApplyOptions { wait: Some(args.wait), ..options(context, stop.clone()) };
    let bar = Arc::new(Bar::new(context.report, members.len()));
    let work = {
        let bar = Arc::clone(&bar);
        move |member: Member| {
            let (migrations, id, options, bar) = (migrations.clone(), id.clone(), options.clone(), Arc::clone(&bar));
            async move {
                let status = admin::status(&member.url, Some(&migrations)).await?;
                if !status.kept.iter().any(|kept| kept.migration == id) {
                    return Ok(false);
                }
                let progress = Arc::new(Named::new(member.name.clone(), bar));
                admin::undo(&member.url, &migrations, Some(&id), &options, progress).await?;
                Ok(true)
            }
        }
    };
    let told = |undone: &bool| if *undone { "taken back" } else { "nothing of it is kept" }.to_owned();
    let ended = each(members, &args.fleet, &stop, &bar, told, work).await;
    bar.end();
    let documents = ended.iter().map(|(m, ended)| document(m, ended, |undone| json!({ "undone": undone })));
    finish(context, "undo", &ended, documents.collect())
}

/// Lets what is kept go for good on all of them.
pub(in crate::commands) async fn purge(context: &Context, args: &PurgeArgs, members: Vec<Member>) -> Result<Outcome> {
    let (migrations, wanted) = (migrations(context)?, args.migration.clone());
    let stop = stop_on_interruption();
    let options = options(context, stop.clone());
    let bar = Arc::new(Bar::new(context.report, members.len()));
    let work = {
        let bar = Arc::clone(&bar);
        move |member: Member| {
            let (migrations, wanted, options) = (migrations.clone(), wanted.clone(), options.clone());
            let progress = Arc::new(Named::new(member.name.clone(), Arc::clone(&bar)));
            async move { Ok(admin::purge(&member.url, &migrations, wanted.as_deref(), &options, progress).await?) }
        }
    };
    let told = |purged: &Vec<_>| match purged.len() {
        0 => "nothing to do".to_owned(),
        1 => "1 thing is gone for good".to_owned(),
        many => format!("{many} things are gone for good"),
    };
    let ended = each(members, &args.fleet, &stop, &bar, told, work).await;
    bar.end();
    let documents = ended.iter().map(|(m, ended)| document(m, ended, |purged| json!({ "purged": purged })));
    finish(context, "purge", &ended, documents.collect())
}
