//! Carrying out all that was asked for, forth or back, and waiting for whom it has to.

use std::time::{Duration, Instant};

use tracing::Instrument as _;

use super::{
    Event, Holder, Queued,
    admin::{ApplyReport, names},
    context::Context,
    retry::jittered,
    run::{Advance, Left, Work},
};
use crate::{
    backend::Backend,
    error::{Error, Result},
    plan::{Phase, Plan, Way},
};

/// What somebody waits for that has done all it could.
#[derive(Clone)]
enum Waits {
    /// A step of a migration, for live versions; on that way.
    Gate { migration: String, step: String, holders: Vec<Holder>, way: Way },
    /// Migrations, for the contract phase of earlier ones.
    Turn(Vec<Queued>),
}

impl Waits {
    fn into_error(self) -> Error {
        match self {
            Self::Gate { migration, step, holders, way } => {
                Error::GateClosed { migration, step, holders, back: way == Way::Back }
            }
            Self::Turn(queued) => Error::Behind { queued },
        }
    }

    fn span(&self) -> tracing::Span {
        match self {
            Self::Gate { migration, step, .. } => {
                tracing::info_span!(target: "schemadiff", "gate_wait", migration, step)
            }
            Self::Turn(queued) => {
                let migration = queued.first().map(|queued| queued.migration.as_str());
                tracing::info_span!(target: "schemadiff", "turn_wait", migration)
            }
        }
    }

    /// Who is waited for, without what changes from look to look.
    fn whom(&self) -> Vec<(String, String, String)> {
        match self {
            Self::Gate { holders, .. } => names(holders),
            Self::Turn(queued) => {
                queued.iter().map(|q| (q.migration.clone(), q.behind.clone(), String::new())).collect()
            }
        }
    }

    /// Says what it is, once.
    fn tell(&self, ctx: &mut Context, told: &mut Vec<(String, String, String)>) {
        let whom = self.whom();
        if whom == *told {
            return;
        }
        *told = whom;
        match self {
            Self::Gate { migration, step, holders, way } => {
                ctx.tell(&Event::GateClosed { migration, step, holders, back: *way == Way::Back });
            }
            Self::Turn(queued) => queued.iter().for_each(|queued| ctx.tell(&Event::Queued { queued })),
        }
    }
}

/// How long to wait, and what is known of those who are waited for.
struct Patience {
    deadline: Option<Instant>,
    /// Whom the caller was told of last.
    told: Vec<(String, String, String)>,
    /// Since when there is nobody else than those of whom nothing is heard.
    suspected: Option<Instant>,
}

impl Patience {
    fn until(deadline: Option<Instant>) -> Self {
        Self { deadline, told: Vec::new(), suspected: None }
    }

    /// Waits a moment without holding the work: what it waits for may be a deploy that has steps to carry out. It is an error
    /// when the deadline has passed, or the migration was aborted meanwhile.
    async fn a_moment<B: Backend>(&mut self, work: Work<B>, ctx: &mut Context, waits: &Waits) -> Result<Work<B>> {
        waits.tell(ctx, &mut self.told);
        let (db, so_far) = work.lay_down().await;
        let watched = match waits {
            Waits::Gate { holders, .. } => watched_until(holders, ctx, &mut self.suspected),
            Waits::Turn(_) => None,
        };
        if self.deadline.is_some_and(|at| Instant::now() >= watched.map_or(at, |until| at.max(until))) {
            db.close().await;
            return Err(waits.clone().into_error());
        }
        if let Err(stopped) = ctx.stop.sleep(jittered(Duration::from_millis(500))).instrument(waits.span()).await {
            db.close().await;
            return Err(stopped);
        }
        let patience = self.deadline.map(|at| at.max(Instant::now() + AGAIN));
        let mut work = Work::take(db, ctx, patience).await?.taken_up(so_far);
        if let Waits::Gate { migration, .. } = waits {
            let is_aborted = work.is_aborted(migration).await;
            if !matches!(is_aborted, Ok(false)) {
                work.give_back().await;
                is_aborted?;
                return Err(Error::AbortedMeanwhile { migration: migration.clone() });
            }
        }
        Ok(work)
    }
}

/// Works, and waits for what holds it back, until nothing is left or the deadline has passed.
pub(super) async fn run<B: Backend>(
    mut work: Work<B>,
    ctx: &mut Context,
    until: Phase,
    deadline: Option<Instant>,
) -> Result<ApplyReport> {
    let (mut report, mut patience) = (ApplyReport::default(), Patience::until(deadline));
    loop {
        let waits = match work.advance(until, &mut report.steps).await {
            Ok(Advance::Closed { migration, step, holders }) => {
                Waits::Gate { migration, step, holders, way: Way::Forward }
            }
            // Whoever has the function needs the work, which is held here.
            other => {
                let left = if other.is_ok() { work.left(until).await } else { Ok(Left::default()) };
                let left = match left {
                    Ok(left) => left,
                    Err(error) => {
                        work.give_back().await;
                        return Err(error);
                    }
                };
                if left.behind.is_empty() || !matches!(other, Ok(Advance::Finished)) {
                    work.give_back().await;
                    report.left = left.steps;
                    return other?.into_error(Way::Forward).map_or(Ok(report), Err);
                }
                Waits::Turn(left.behind)
            }
        };
        work = patience.a_moment(work, ctx, &waits).await?;
    }
}

/// Takes the steps of a migration back that somebody asked to have taken back (its abort, or the undoing of its contract phase),
/// and waits for the versions that hold one; the steps, in order. The same gate turned round: whoever is silent is watched here
/// as well, and what is not waited for is an error.
pub(super) async fn back<B: Backend>(
    mut work: Work<B>,
    ctx: &mut Context,
    (plan, what): (&Plan, Back),
    deadline: Option<Instant>,
) -> Result<Vec<String>> {
    let (mut steps, mut patience) = (Vec::new(), Patience::until(deadline));
    loop {
        let went = match what {
            Back::Abort => work.abort(plan).await,
            Back::Undo => work.undo(plan, &mut steps).await,
        };
        match went {
            Ok(Some(Advance::Closed { migration, step, holders })) => {
                let waits = Waits::Gate { migration, step, holders, way: Way::Back };
                work = patience.a_moment(work, ctx, &waits).await?;
            }
            ended => {
                work.give_back().await;
                return ended?.and_then(|stopped| stopped.into_error(Way::Back)).map_or(Ok(steps), Err);
            }
        }
    }
}

/// What is taken back.
#[derive(Clone, Copy)]
pub(super) enum Back {
    /// A migration before its contract phase.
    Abort,
    /// A contract phase that has set aside what it would have dropped.
    Undo,
}

/// How long whoever does not wait at all still waits for the work that it has laid down.
const AGAIN: Duration = Duration::from_secs(10);

/// Until when those who are waited for are watched whether they are dead, if there is nobody else: it is no waiting for somebody
/// who lives.
fn watched_until(holders: &[Holder], ctx: &Context, since: &mut Option<Instant>) -> Option<Instant> {
    if !holders.iter().all(|holder| holder.suspected) {
        *since = None;
        return None;
    }
    let own = holders.iter().map(|holder| Duration::from_millis(u64::try_from(holder.grace_ms).unwrap_or(0)));
    let grace = own.max().unwrap_or_default().max(ctx.grace);
    Some(*since.get_or_insert_with(Instant::now) + grace + grace / 2)
}
