//! Signs of life of whoever works, where the row is all that others see of the process.

use super::context::Context;
use crate::backend::{Backend, ledger};

/// A task that ends when this is dropped.
pub(super) struct Beat(tokio::task::JoinHandle<()>);

impl Drop for Beat {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Beat {
    /// On a connection of its own: the other one may be busy for hours with one statement.
    pub(super) fn start<B: Backend>(db: &B, ctx: &Context) -> Self {
        let (target, token, every) = (db.connected_to().clone(), ctx.token.clone(), ctx.grace / 3);
        let load = ctx.load.clone();
        Self(tokio::spawn(async move {
            let mut own: Option<B> = None;
            loop {
                tokio::time::sleep(every).await;
                let mut beat = match own.take() {
                    Some(beat) => beat,
                    None => match B::connect(&target).await {
                        Ok(mut beat) => {
                            load.is_ours(&mut beat).await;
                            beat
                        }
                        Err(error) => {
                            tracing::debug!(%error, "no sign of life could be sent");
                            continue;
                        }
                    },
                };
                match ledger::still_working(&mut beat, &token).await {
                    Ok(_) => own = Some(beat),
                    // A long transaction of this process's own holds the row or the file: then nobody can take over either.
                    Err(error) => tracing::debug!(%error, "no sign of life could be sent"),
                }
            }
        }))
    }
}
