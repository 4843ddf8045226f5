//! The first connection of whoever carries migrations out, and going on with another one when it breaks: the server is started
//! anew, a proxy gives up, somebody ends the session.

use std::time::{Duration, Instant};

use super::{Event, context::Context, decide};
use crate::{
    backend::Backend,
    error::{Error, Result},
};

/// A connection that has held for so long was a good one: trouble after that is new trouble.
const STEADY: Duration = Duration::from_secs(60);
/// So long a server is waited for that is there but has not let this process in once: it may never want to.
const FIRST_PATIENCE: Duration = Duration::from_secs(60);

/// How long connections have been breaking, and how often something was tried again.
#[derive(Debug)]
pub(super) struct Trouble {
    since: Instant,
    /// When the attempt began that runs now.
    began: Option<Instant>,
    attempt: u32,
    most: Duration,
}

impl Trouble {
    /// None so far: as much patience as [`super::Retry`] has.
    pub(super) fn none() -> Self {
        Self { since: Instant::now(), began: None, attempt: 0, most: Duration::MAX }
    }

    /// None so far with a server that has not been met yet.
    fn first() -> Self {
        Self { most: FIRST_PATIENCE, ..Self::none() }
    }

    /// An attempt begins.
    pub(super) fn begin(&mut self) {
        self.began = Some(Instant::now());
    }

    /// An attempt ended with `error`: waits before the next, or gives it back when it is not about the connection, or when
    /// enough was tried. Who holds the work may be a connection of this process that the server has not missed yet.
    async fn pause(&mut self, ctx: &mut Context, error: Error) -> Result<()> {
        if !error.is_connection() && !matches!(error, Error::WorkerBusy { .. }) {
            return Err(error);
        }
        let held = self.began.take().is_some_and(|began| began.elapsed() > STEADY);
        if self.attempt == 0 || held {
            (self.since, self.attempt) = (Instant::now(), 0);
        }
        self.attempt += 1;
        let spent = self.since.elapsed();
        if spent >= self.most || !ctx.retry.allows(self.attempt, spent) {
            return Err(error);
        }
        let pause = ctx.retry.pause(self.attempt);
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        ctx.tell(&Event::Reconnecting { attempt: self.attempt, pause_ms, cause: &error.to_string() });
        ctx.stop.sleep(pause).await
    }

    /// Another connection, after one ended with `error`.
    pub(super) async fn connect<B: Backend>(
        &mut self,
        target: &B::Target,
        ctx: &mut Context,
        mut error: Error,
    ) -> Result<B> {
        loop {
            self.pause(ctx, error).await?;
            error = match B::connect(target).await {
                Ok(db) => return Ok(db),
                Err(error) => error,
            };
        }
    }
}

/// Connects and makes sure that there is a ledger of the same history. A server that is being started, ended or recovered is
/// waited for; one that does not answer may be a wrong address, which is said at once.
pub(super) async fn open<B: Backend>(url: &str, ctx: &mut Context) -> Result<B> {
    let target = B::target(url)?;
    let (mut trouble, mut is_there) = (Trouble::first(), false);
    loop {
        let error = match opened(&target, ctx).await {
            Ok(db) => return Ok(db),
            Err(error) => error,
        };
        is_there |= matches!(error, Error::ConnectionLost { .. } | Error::Connect { not_yet: true, .. });
        if !is_there {
            return Err(error);
        }
        trouble.pause(ctx, error).await?;
    }
}

async fn opened<B: Backend>(target: &B::Target, ctx: &mut Context) -> Result<B> {
    let mut db = B::connect(target).await?;
    let ledger = match ctx.ledger(&mut db).await? {
        Some(ledger) => ledger,
        None => {
            db.create_ledger().await?;
            ctx.tell(&Event::LedgerCreated);
            ctx.ledger(&mut db).await?.unwrap_or_default()
        }
    };
    decide::same_history(&ctx.history, &ledger, &ctx.app)?;
    Ok(db)
}
