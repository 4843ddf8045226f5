//! `undo --fleet` and `purge --fleet`: what contract has set aside comes back, or goes for good, on all of them.

use std::sync::Arc;

use schemadiff::lockstep::admin::{self, ApplyOptions};

use super::{Member, Named, named, on_all};
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
    let work = |member: Member, bar| {
        let (migrations, id, options) = (migrations.clone(), id.clone(), options.clone());
        async move {
            let status = admin::status(&member.url, Some(&migrations)).await?;
            if !status.kept.iter().any(|kept| kept.migration == id) {
                return Ok(false);
            }
            let progress = Arc::new(Named::new(member.name, bar));
            admin::undo(&member.url, &migrations, Some(&id), &options, progress).await?;
            Ok(true)
        }
    };
    let told = |undone: &bool| if *undone { "taken back" } else { "nothing of it is kept" }.to_owned();
    on_all(context, ("undo", "undone"), (members, &args.fleet), &stop, told, work).await
}

/// Lets what is kept go for good on all of them.
pub(in crate::commands) async fn purge(context: &Context, args: &PurgeArgs, members: Vec<Member>) -> Result<Outcome> {
    let (migrations, wanted) = (migrations(context)?, args.migration.clone());
    let stop = stop_on_interruption();
    let options = options(context, stop.clone());
    let work = |member: Member, bar| {
        let (migrations, wanted, options) = (migrations.clone(), wanted.clone(), options.clone());
        let progress = Arc::new(Named::new(member.name, bar));
        async move { Ok(admin::purge(&member.url, &migrations, wanted.as_deref(), &options, progress).await?) }
    };
    let told = |purged: &Vec<_>| match purged.len() {
        0 => "nothing to do".to_owned(),
        1 => "1 thing is gone for good".to_owned(),
        many => format!("{many} things are gone for good"),
    };
    on_all(context, ("purge", "purged"), (members, &args.fleet), &stop, told, work).await
}
