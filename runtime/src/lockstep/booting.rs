//! A start under way: registering, waiting to be served, or bringing the database there.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use tracing::Instrument as _;

use super::{
    Event, Queued,
    admin::names,
    builder::{Contract, Role},
    context::Context,
    decide::{self, Boot},
    lease,
    news::News,
    probe::{Probe, Standing},
    retry::jittered,
    run::{Advance, Work},
};
use crate::{
    backend::{Backend, Lease, Ledger, MigrationState, Settled, StepState, digest, ledger},
    compat::Reason,
    error::{Error, Result},
    plan::{Phase, Plan},
};

/// How often a start finds at once that the ledger has changed or that the gate is held, before it says that it waits.
const TURNS: u32 = 20;

/// A start under way.
pub(super) struct Booting<'b, B: Backend> {
    pub(super) target: &'b B::Target,
    pub(super) ctx: Context,
    pub(super) role: Role,
    pub(super) contract: Contract,
    pub(super) lease: &'b Lease,
    pub(super) told: Vec<(String, String, String)>,
    pub(super) probe: &'b Probe,
    /// What was told of others that work, of how far they are, and of what is waited for.
    pub(super) busy: News,
    pub(super) under_way: News,
    pub(super) waits: News,
    /// Migrations of its own that it has seen begun.
    pub(super) begun: BTreeSet<String>,
}

impl<B: Backend> Booting<'_, B> {
    /// One round trip when there is nothing to do. The second result says whether steps are left. A server that is started
    /// anew meanwhile, and a file that is in use, are waited for like everything else.
    pub(super) async fn until_registered(&mut self, connected: Result<B>, wait: Duration) -> Result<(B, bool)> {
        // Without one, where the wait is for ever.
        let deadline = Instant::now().checked_add(wait);
        let mut db = match connected {
            Ok(db) => Some(db),
            Err(Error::Connect { not_yet: true, .. }) => None,
            Err(error) => return Err(error),
        };
        loop {
            let attempt = match db.as_mut() {
                Some(db) => self.attempt(db, deadline).await,
                None => match B::connect(self.target).await {
                    Ok(fresh) => {
                        db = Some(fresh);
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            match (attempt, db.take()) {
                (Ok(unfinished), Some(db)) => return Ok((db, unfinished)),
                (Err(error), broken) if error.may_pass() && deadline.is_none_or(|at| Instant::now() < at) => {
                    tracing::warn!(target: "schemadiff", %error, "the start waits");
                    if !error.is_connection() {
                        db = broken;
                    }
                    self.pause(vec![error.to_string()]).await?;
                }
                (Err(error), _) => return Err(error),
                (Ok(_), None) => {}
            }
        }
    }

    async fn attempt(&mut self, db: &mut B, deadline: Option<Instant>) -> Result<bool> {
        let mut read = match self.registered_unread(db).await? {
            Settled::Registered => return Ok(false),
            Settled::Not(ledger) => ledger.map(|text| ledger::parsed::<B>(&text)).transpose()?,
        };
        let (identity, mut turns) = (&self.lease.identity, 0_u32);
        loop {
            let ledger = match read.take() {
                Some(ledger) => ledger,
                None => match self.ledger(db, deadline).await? {
                    Some(ledger) => ledger,
                    None => continue,
                },
            };
            decide::same_history(&self.ctx.history, &ledger, &self.ctx.app)?;
            self.watch_for_aborts(&ledger)?;
            let plans = decide::pending(&self.ctx.history, &ledger)?;
            let boot = decide::boot(&self.ctx.world(&plans, &ledger, &[]), identity)?;
            let reasons = match boot {
                Boot::Refused(error) => return Err(error),
                Boot::Start => {
                    if lease::register(db, self.lease, ledger.epoch).await? {
                        return Ok(!plans.is_empty());
                    }
                    turns += 1;
                    if turns > TURNS {
                        self.wait(Vec::new(), Vec::new(), deadline).await?;
                    }
                    continue;
                }
                Boot::Work { until, reasons } => {
                    let until = until.max(self.behind_contract(&plans));
                    if self.role == Role::Apply && !plans.is_empty() && self.work(until).await? {
                        continue;
                    }
                    reasons
                }
            };
            // Somebody else works, or the gate is closed. Where the database serves this version already, that can go on
            // beside it.
            if reasons.is_empty() && lease::register(db, self.lease, ledger.epoch).await? {
                return Ok(true);
            }
            self.tell_of_others(&plans, &ledger);
            let queued = decide::queued(&self.ctx.world(&plans, &ledger, &[]));
            self.wait(reasons, queued, deadline).await?;
        }
    }

    /// What somebody has taken back on purpose while this start waits is not the start's to carry out again.
    fn watch_for_aborts(&mut self, ledger: &Ledger) -> Result<()> {
        for entry in self.ctx.history.entries() {
            let migration = &entry.head.id;
            match ledger.migration(migration).map(|row| row.state) {
                Some(MigrationState::Aborted) if self.begun.contains(migration) => {
                    return Err(Error::AbortedMeanwhile { migration: migration.clone() });
                }
                Some(MigrationState::Running | MigrationState::Done) => {
                    self.begun.insert(migration.clone());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// How far whoever works has come.
    fn tell_of_others(&mut self, plans: &[Plan], ledger: &Ledger) {
        for plan in plans {
            let Some(row) = ledger.migration(&plan.id) else { continue };
            let Some(step) = row.steps.iter().find(|s| s.state == StepState::Running) else { continue };
            // What moves within a step is told now and then.
            if !self.under_way.is_new(&format!("{} {}", plan.id, step.id)) {
                continue;
            }
            self.ctx.tell(&Event::UnderWay {
                migration: &plan.id,
                step: &step.id,
                position: plan.steps.iter().position(|s| s.id == step.id).unwrap_or_default() + 1,
                of: plan.steps.len(),
                rows: u64::try_from(step.rows_done).unwrap_or(0),
                total: step.cursor.as_deref().and_then(super::backfill::total_of),
            });
        }
    }

    /// Most starts find every migration done. So that is decided first, and the registration holds if the ledger says just
    /// that; if not, nothing has happened, and what the ledger says may have come along: beside the migrations of other services
    /// a start has one round trip more and not two.
    async fn registered_unread(&self, db: &mut B) -> Result<Settled> {
        let ledger = self.ctx.all_done();
        match decide::boot(&self.ctx.world(&[], &ledger, &[]), &self.lease.identity)? {
            Boot::Start => {
                let known = digest(ledger.migrations.iter().map(Into::into));
                lease::register_settled(db, self.lease, (&known, &self.ctx.known())).await
            }
            Boot::Work { .. } | Boot::Refused(_) => Ok(Settled::Not(None)),
        }
    }

    /// Reads the ledger; creates it, or waits for somebody who does.
    async fn ledger(&mut self, db: &mut B, deadline: Option<Instant>) -> Result<Option<Ledger>> {
        if let Some(ledger) = self.ctx.ledger(db).await? {
            return Ok(Some(ledger));
        }
        match self.role {
            Role::Apply => {
                db.create_ledger().await?;
                self.ctx.tell(&Event::LedgerCreated);
            }
            Role::WaitOnly => {
                let reasons = self.lacking_in_an_empty_one()?;
                self.wait(reasons, Vec::new(), deadline).await?;
            }
        }
        Ok(None)
    }

    /// What a database lacks in which nothing has been applied yet.
    fn lacking_in_an_empty_one(&self) -> Result<Vec<Reason>> {
        let ledger = Ledger::default();
        let plans = decide::pending(&self.ctx.history, &ledger)?;
        Ok(match decide::boot(&self.ctx.world(&plans, &ledger, &[]), &self.lease.identity)? {
            Boot::Work { reasons, .. } => reasons,
            Boot::Start | Boot::Refused(_) => Vec::new(),
        })
    }

    /// A migration whose expand waits behind the contract of an earlier one needs that contract first.
    fn behind_contract(&self, plans: &[Plan]) -> Phase {
        let waits = |plan: &Plan| plan.steps.iter().any(|step| step.phase == Phase::Contract);
        match plans {
            [earlier @ .., _] if self.contract == Contract::Automatic && earlier.iter().any(waits) => Phase::Contract,
            _ => Phase::Expand,
        }
    }

    /// Works as far as possible; false when somebody else does or live versions hold the next step.
    async fn work(&mut self, until: Phase) -> Result<bool> {
        let db = B::connect(self.target).await?;
        let mut work = match Work::try_take(db, &self.ctx).await? {
            Ok(work) => work,
            Err((db, busy)) => {
                if self.busy.is_new(&busy.holder) {
                    self.ctx.tell(&Event::WorkerBusy { holder: &busy.holder });
                }
                db.close().await;
                return Ok(false);
            }
        };
        let mut done = Vec::new();
        let advance = match work.advance(until, &mut done).await {
            // Somebody else works.
            Err(Error::LostWork) => return Ok(false),
            advance => advance,
        };
        work.give_back().await;
        match advance? {
            // Nothing to do although steps are left: they wait for a phase that is not this process's to begin.
            Advance::Finished | Advance::Reached => Ok(!done.is_empty()),
            Advance::Closed { migration, step, holders } => {
                if names(&holders) != self.told {
                    self.ctx.tell(&Event::GateClosed {
                        migration: &migration,
                        step: &step,
                        holders: &holders,
                        back: false,
                    });
                    self.told = names(&holders);
                }
                Ok(false)
            }
            Advance::Elsewhere { migration, step, function, .. } => {
                self.ctx.tell(&Event::NeedsApplication { migration: &migration, step: &step, function: &function });
                Ok(false)
            }
        }
    }

    async fn wait(&mut self, reasons: Vec<Reason>, queued: Vec<Queued>, deadline: Option<Instant>) -> Result<()> {
        if deadline.is_some_and(|at| Instant::now() >= at) {
            let (app, version) = (self.lease.identity.app.clone(), self.lease.identity.version.clone());
            return Err(Error::NotServedInTime { app, version, reasons });
        }
        let reasons = reasons.iter().map(ToString::to_string);
        self.pause(reasons.chain(queued.iter().map(ToString::to_string)).collect()).await
    }

    async fn pause(&mut self, texts: Vec<String>) -> Result<()> {
        self.probe.set(Standing::Waiting(texts.clone()));
        if self.waits.is_new(&texts.join("; ")) {
            self.ctx.tell(&Event::WaitingToBeServed { reasons: &texts });
        }
        let span = tracing::info_span!(target: "schemadiff", "wait_to_be_served", app = self.ctx.app);
        self.ctx.stop.sleep(jittered(Duration::from_millis(500))).instrument(span).await
    }
}
