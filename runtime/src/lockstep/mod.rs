//! Carrying migrations out in lockstep with the code versions that run.
//!
//! [`decide`] and [`state`] are pure: they say what may be done next and what the database looks like to code. Everything
//! else here carries that out: [`Lockstep`] inside a service, [`admin`] for the command-line tool.

pub mod admin;
pub mod decide;
pub mod state;

mod backfill;
mod background;
mod beat;
mod booting;
mod builder;
mod context;
mod execute;
pub(crate) mod fence;
mod gate;
mod given;
pub(crate) mod guard;
pub(crate) mod hook;
mod hooked;
mod kept;
mod lease;
mod look;
mod lost;
mod metrics;
mod news;
mod own;
mod probe;
mod progress;
mod retire;
mod retry;
mod run;
mod status;
#[cfg(feature = "diesel")]
pub(crate) mod stepwise;
mod taking;
mod throttle;
mod to_the_end;
mod trouble;
mod witness;

pub use crate::backend::{Limits, Pacing};
pub use crate::waiting::Queued;
pub use crate::waiting::{Blocker, Evidence, Holder, StrangeStatements, Strangers};
pub use builder::{Builder, Contract, Role};
pub use given::Backfills;
pub use guard::Lockstep;
pub use hook::Enter;
pub use hooked::Connections;
pub use metrics::{Labels, Metrics, names as metric_names};
pub use probe::{Probe, Ready};
pub use progress::{Difference, Event, NoProgress, Progress, TracingProgress};
pub use retry::Retry;
pub use status::{MigrationStatus, ServerProgress, Status, StepStatus, VersionStatus, Waiting};
pub use throttle::{Compare, Pace};
