//! For applications that use Diesel.
//!
//! - [`Builder::migration_source`] gives a `MigrationSource` for `diesel_migrations`: `connection.run_pending_migrations(source)`
//!   carries out the steps that may be carried out now, under the same ledger, gate and safety as
//!   [`Builder::start`].
//! - [`Builder::start_blocking`] starts lockstep where there is no async runtime.
//! - [`Lockstep::customizer`](crate::Lockstep::customizer), behind the feature `diesel-r2d2`, is the hook for pools of r2d2.
//!
//! Nothing here links a native library or knows a backend of Diesel's: that is the application's choice. What the steps do to
//! the database is done through connections of schemadiff's own, to the address in the builder.
//!
//! ```no_run
//! # fn example(url: &str, migrations: schemadiff::embed::Migrations) -> Result<(), schemadiff::Error> {
//! let builder = schemadiff::Lockstep::builder("shop", migrations).database_url(url);
//! let source = builder.clone().migration_source()?;
//! // connection.run_pending_migrations(source)?;
//! let lockstep = builder.start_blocking()?;
//! // Pool::builder().connection_customizer(Box::new(lockstep.customizer(url)?)) …
//! lockstep.shutdown();
//! # Ok(()) }
//! ```

mod background;
mod blocking;
#[cfg(feature = "diesel-r2d2")]
mod customizer;
mod source;

pub use blocking::Blocking;
#[cfg(feature = "diesel-r2d2")]
pub use customizer::{Answer, Customizer, Guarding};
pub use source::Source;

use crate::{error::Result, lockstep::Builder};

impl Builder {
    /// For `run_pending_migrations` and its like of `diesel_migrations`.
    ///
    /// # Errors
    /// When the address is missing or none that a second connection can be made to, or when the migrations are damaged.
    pub fn migration_source(self) -> Result<Source> {
        Source::new(self)
    }

    /// [`Builder::start`] for programs without an async runtime: it waits on this thread, and works on one of its own. Call
    /// it inside of an async runtime as you would any call that blocks.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn start_blocking(self) -> Result<Blocking> {
        Blocking::start(self)
    }
}
