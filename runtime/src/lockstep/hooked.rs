//! Whether every connection of the retiring version sees its compatibility views: asked when a plan is made, and again
//! before each of its steps that count on it.

use crate::{
    backend::{Backend, DbResult, Lease, Unhooked},
    plan::{Overlap, Phase, Plan, Step, Strategy},
    waiting::Evidence,
};

use super::decide;

/// A session that is younger may be about to enter: a pool asks right after it has connected.
const ENTERS_WITHIN_MS: u64 = 2_000;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hooked {
    /// Every connection that can be known of has the views.
    All,
    /// Somebody has just connected: look again in a moment.
    NotYet,
    /// These have not, in words.
    NotAll(Vec<String>),
}

/// The strategy of a plan whose step counts on views.
pub(super) fn counts_on_views<'p>(plan: &'p Plan, step: &Step) -> Option<&'p Strategy> {
    plan.strategy.as_ref().filter(|strategy| strategy.way == Overlap::Views && step.phase != Phase::Contract)
}

/// Looks at the leases of the versions whose newest migration is `migration`, and at the sessions of `apps`.
pub(super) async fn look<B: Backend>(
    db: &mut B,
    apps: &[String],
    migration: &str,
    leases: &[Lease],
    grace_ms: i64,
) -> DbResult<Hooked> {
    let mut against = Vec::new();
    for lease in leases.iter().filter(|l| l.identity.migration() == migration && decide::is_alive(l, grace_ms)) {
        let (app, version, instance) = (&lease.identity.app, &lease.identity.version, &lease.instance);
        if lease.evidence == Evidence::Standby {
            against
                .push(format!("{app} {version} ({instance}) reads from standbys, whose sessions cannot be seen here"));
        } else if lease.evidence != Evidence::Lock {
            against.push(format!(
                "{app} {version} ({instance}) is behind a pooler, whose sessions have no views of its own"
            ));
        } else if !apps.contains(app) {
            against.push(format!("{app} runs {version} too, and the plan has no views for it"));
        }
    }
    let (entering, others): (Vec<Unhooked>, Vec<Unhooked>) =
        db.sessions_without_hook(apps).await?.into_iter().partition(|u| u.age_ms < ENTERS_WITHIN_MS);
    against.extend(others.iter().map(|u| format!("{} was not opened through the hook", u.session)));
    against.dedup();
    Ok(match (against.is_empty(), entering.is_empty()) {
        (false, _) => Hooked::NotAll(against),
        (true, false) => Hooked::NotYet,
        (true, true) => Hooked::All,
    })
}

/// What the leases say when a plan is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connections {
    /// Applications that run the version, all of whose connections came through the hook.
    pub apps: Vec<String>,
    /// What speaks against views, in words.
    pub against: Vec<String>,
}

/// See [`super::admin::connections_of`].
pub(super) async fn connections<B: Backend>(
    db: &mut B,
    migration: &str,
    leases: &[Lease],
    grace_ms: i64,
) -> DbResult<Connections> {
    let alive: Vec<&Lease> = leases.iter().filter(|l| decide::is_alive(l, grace_ms)).collect();
    let mut apps: Vec<String> =
        alive.iter().filter(|l| l.identity.migration() == migration).map(|l| l.identity.app.clone()).collect();
    apps.sort();
    apps.dedup();
    let mut against: Vec<String> = alive
        .iter()
        .filter(|l| l.identity.migration() != migration)
        .map(|l| format!("{} {} runs too, and would see no views", l.identity.app, l.identity.version))
        .collect();
    if B::tenant_ledger(db.connected_to()).is_some() {
        against.push("the views of a version belong to a whole database, and this is a schema of a tenant".to_owned());
    }
    against.sort();
    against.dedup();
    // Who connects at this very moment is looked at again before each step.
    if let Hooked::NotAll(found) = look(db, &apps, migration, leases, grace_ms).await? {
        against.extend(found);
    }
    Ok(Connections { apps, against })
}
