//! Lockstep without an async runtime of the application's.

use std::ops::Deref;

use super::background::Background;
use crate::{
    error::Result,
    lockstep::{Builder, Lockstep, Ready, Status, admin},
};

/// A running instance, as [`Lockstep`], whose work in the background is done on a thread of its own. Keep it for as long as the
/// process uses the database; when it is dropped, the lease is given back.
#[derive(Debug)]
pub struct Blocking {
    lockstep: Lockstep,
    background: Background,
}

impl Blocking {
    pub(super) fn start(builder: Builder) -> Result<Self> {
        let background = Background::start()?;
        let lockstep = background.wait(builder.start())??;
        Ok(Self { lockstep, background })
    }

    /// Whether this instance should take work.
    pub fn ready(&self) -> Ready {
        let probe = self.probe();
        let asked = self.background.wait(async move { probe.ready().await });
        asked.unwrap_or_else(|error| Ready::Unreachable { cause: error.to_string() })
    }

    /// What has been done, who runs, and what waits for whom.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn status(&self) -> Result<Status> {
        let (_, url, migrations) = self.carries();
        let (url, migrations, soak) = (url.to_owned(), migrations.clone(), self.soaks());
        self.background.wait(async move { admin::status_soaking(&url, Some(&migrations), soak).await })?
    }

    /// For a pool of r2d2 that connects to `pool_url`: see [`Lockstep::customizer`].
    ///
    /// # Errors
    /// When the server cannot be asked.
    #[cfg(feature = "diesel-r2d2")]
    pub fn customizer(&self, pool_url: &str) -> Result<super::Customizer> {
        let asks = super::customizer::find_out(&self.lockstep, pool_url);
        self.background.wait(asks)?
    }

    /// Gives the lease back and ends the work in the background. Drop the pools first.
    pub fn shutdown(self) {}
}

impl Deref for Blocking {
    type Target = Lockstep;

    fn deref(&self) -> &Lockstep {
        &self.lockstep
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        if let Err(error) = self.background.wait(self.lockstep.ending()) {
            tracing::debug!(%error, "the lease was not given back; its end shows by itself");
        }
    }
}
