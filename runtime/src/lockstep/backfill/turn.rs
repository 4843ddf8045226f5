//! When a worker may take the next range: always, or only as long as nobody else is at work.

use std::{sync::atomic::Ordering, time::Duration};

use super::Job;
use crate::{
    error::Result,
    lockstep::{context::Context, throttle::Throttle},
};

/// Between two looks whether it is its turn.
const LOOK: Duration = Duration::from_millis(20);

/// A pass that is over by then needs no second worker.
const LONG: Duration = Duration::from_millis(500);

/// Which worker this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// One of those that were asked for.
    Always,
    /// The one more that takes of what the machine has left while nobody else is at work.
    Alone,
}

impl Turn {
    /// The share of the time in which it works when nobody is in the way. The one that nobody asked for takes a half: between two looks
    /// at the load, whoever comes shall find a machine that is not taken to the last core.
    pub const fn share(self) -> f64 {
        match self {
            Self::Always => 1.0,
            Self::Alone => 0.5,
        }
    }

    /// Waits until it is its turn; false when nothing is left to do by then.
    pub async fn comes(self, ctx: &mut Context, job: &Job, throttle: &Throttle) -> Result<bool> {
        let mut waited = Duration::ZERO;
        while self == Self::Alone && waited < LONG {
            if is_over(job).await {
                return Ok(false);
            }
            ctx.stop.sleep(LOOK).await?;
            waited += LOOK;
        }
        while !self.is_on(throttle) {
            if is_over(job).await {
                return Ok(false);
            }
            ctx.stop.sleep(LOOK).await?;
        }
        Ok(true)
    }

    /// Whether it may take another range.
    pub fn is_on(self, throttle: &Throttle) -> bool {
        self == Self::Always || throttle.now().alone
    }
}

/// Whether all is claimed, or the others have failed.
async fn is_over(job: &Job) -> bool {
    job.failed.load(Ordering::Relaxed) || job.walk.lock().await.is_claimed()
}
