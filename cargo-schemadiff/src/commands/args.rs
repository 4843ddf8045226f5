//! The command line.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use schemadiff::{lockstep::admin::Target, plan::Phase};

use crate::{
    config::{GlobalArgs, How, StrategyArg, parse_duration, parse_stall},
    side::Side,
};

const AFTER_HELP: &str = "\
SIDE is what a schema is read from:
  crate             the package's structs (built with cargo)
  artifact:PATH     a built binary, stripped or not
  postgres://…      a live PostgreSQL database
  sqlite:PATH       a live SQLite database
  file:PATH         a snapshot file
  lock              the lock file of the migrations directory
  empty             nothing

Exit codes: 0 equal or done, 1 differences (check, diff --exit-code), 2 and above errors by kind (docs/exit-codes.md).";

/// Schema-as-code for Rust services: compare structs with a database, write phased migrations, apply them in lockstep.
#[derive(Debug, Parser)]
#[command(name = "cargo-schemadiff", bin_name = "cargo schemadiff", version, about, after_help = AFTER_HELP)]
#[command(propagate_version = true, max_term_width = 120)]
pub struct Cli {
    // clap ignores the doc comment of a flattened or a subcommand field: none of these comes up in a help text.
    /// What every subcommand understands.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what differs between two sides and how it would get there
    Diff(DiffArgs),
    /// Write a migration: a reviewed file of phased steps
    New(NewArgs),
    /// Check that structs, lock file and migrations agree, without a database; or, of a fleet, that its databases are what they made
    Check(CheckArgs),
    /// Carry out the migrations, in lockstep with the versions that are running
    Apply(ApplyArgs),
    /// Show who runs what, what waits for whom, and since when
    Status(StatusArgs),
    /// Pause backfills that run, in whatever process
    Pause(PaceArgs),
    /// Let paused backfills go on
    Resume(PaceArgs),
    /// Say how fast backfills may go
    Speed(SpeedArgs),
    /// List the rows that a backfill could not fill and kept aside
    FailedRows(FailedRowsArgs),
    /// Take back a migration that has not reached its contract phase
    Abort(AbortArgs),
    /// Take back a contract phase that set aside what it would have dropped
    Undo(UndoArgs),
    /// Drop for good what contract phases have set aside
    Purge(PurgeArgs),
    /// Retire an instance that is dead and still holds a contract phase
    Retire(RetireArgs),
    /// Write one side as a snapshot file
    Snapshot(SnapshotArgs),
    /// Run the whole story with two versions of a small shop under load
    Demo(DemoArgs),
}

/// Many databases at once.
#[derive(Debug, Clone, Default, Args)]
pub struct FleetArgs {
    /// Do it to many databases: a file with an address a line, perhaps behind a name; `-` is standard input
    #[arg(long, value_name = "FILE", help_heading = "Fleet", conflicts_with = "fleet_query")]
    pub fleet: Option<PathBuf>,
    /// Do it to many databases: a query on the configured one that gives addresses, or names and addresses
    #[arg(long, value_name = "SQL", help_heading = "Fleet")]
    pub fleet_query: Option<String>,
    /// So many databases at the same time
    #[arg(long, value_name = "N", help_heading = "Fleet", default_value_t = 8,
          value_parser = clap::value_parser!(u32).range(1..=256))]
    pub parallel: u32,
    /// So many of the first databases come alone, and the others only when they are done
    #[arg(long, value_name = "N", help_heading = "Fleet", default_value_t = 1)]
    pub canary: u32,
    /// After a failure go on with the databases that are left, unless a canary failed
    #[arg(long, help_heading = "Fleet")]
    pub keep_going: bool,
}

/// `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Which databases, if it is about any.
    #[command(flatten)]
    pub fleet: FleetArgs,
}

/// `failed-rows`.
#[derive(Debug, Args)]
pub struct FailedRowsArgs {
    /// Have them tried again
    #[arg(long)]
    pub retry: bool,
}

/// `diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The side to start from [default: the database]
    #[arg(long, value_name = "SIDE")]
    pub from: Option<Side>,
    /// The side to get to [default: crate]
    #[arg(long, value_name = "SIDE")]
    pub to: Option<Side>,
    /// Exit with 1 when there are differences
    #[arg(long)]
    pub exit_code: bool,
    /// What the user says about the change.
    #[command(flatten)]
    pub intent: IntentArgs,
}

/// What the user says about a change that the two sides cannot show.
#[derive(Debug, Clone, Default, Args)]
pub struct IntentArgs {
    /// A rename, `users.fullname=users.display_name` or `users=people`; repeatable
    #[arg(long, value_name = "OLD=NEW")]
    pub rename: Vec<Rename>,
    /// What existing rows hold in a new or converted column, as SQL over the row: `users.email_key=lower(email)`; repeatable
    #[arg(long, value_name = "COLUMN=SQL")]
    pub backfill: Vec<Backfill>,
    /// Acknowledge the loss of a table or column by name, `users` or `users.fullname`; repeatable
    #[arg(long, value_name = "NAME")]
    pub allow_drop: Vec<String>,
    /// How old and new code live side by side where there is a choice [default: schemadiff.toml, or auto]
    #[arg(long, value_name = "WAY", value_enum)]
    pub strategy: Option<StrategyArg>,
}

/// `new`.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Name of the migration: letters, digits, `_` and `-`
    pub name: String,
    /// The side to start from [default: the lock file]
    #[arg(long, value_name = "SIDE")]
    pub from: Option<Side>,
    /// The side to get to [default: crate]
    #[arg(long, value_name = "SIDE")]
    pub to: Option<Side>,
    /// Show the plan, prove it, write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// What the user says about the change.
    #[command(flatten)]
    pub intent: IntentArgs,
}

/// `apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// Stop after this phase of the newest migration
    #[arg(long, value_name = "PHASE", value_enum, default_value_t = Until::Contract)]
    pub until: Until,
    /// How long to wait for running versions to go: `30s`, `10m`, `2h` [default: do not wait]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "0s", hide_default_value = true)]
    pub wait: Duration,
    /// How long a version that is gone is still waited for before the contract phase leaves it behind [default: schemadiff.toml,
    /// or not at all]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub soak: Option<Duration>,
    /// The longest that a statement of an application may wait for the migration, for example `100ms`; lock timeouts and the
    /// size of batches follow from it [default: schemadiff.toml]
    #[arg(long, value_name = "DURATION", value_parser = parse_stall)]
    pub max_stall: Option<Duration>,
    /// Carry out steps that stop readers or writers of a large table for as long as they go through it
    #[arg(long)]
    pub accept_stall: bool,
    /// How much of what a backfill has stored is compared with what it should be, when it has ended [default: schemadiff.toml,
    /// or sample]
    #[arg(long, value_name = "HOW", value_enum)]
    pub compare: Option<How>,
    /// The databases.
    #[command(flatten)]
    pub fleet: FleetArgs,
}

/// `pause` and `resume`.
#[derive(Debug, Args)]
pub struct PaceArgs {
    /// The databases.
    #[command(flatten)]
    pub fleet: FleetArgs,
}

/// `speed`.
#[derive(Debug, Args)]
pub struct SpeedArgs {
    /// Share of the time in which a backfill works, `1%` to `100%`, or `auto` for what the load allows
    pub speed: Speed,
    /// The databases.
    #[command(flatten)]
    pub fleet: FleetArgs,
}

/// A share of the time; none leaves it to the throttle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed(pub Option<f64>);

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" {
            return Ok(Self(None));
        }
        match text.trim_end_matches('%').trim().parse::<u32>() {
            Ok(percent @ 1..=100) => Ok(Self(Some(f64::from(percent) / 100.0))),
            _ => Err("write `auto` or a share of the time from 1% to 100%; to stop, use `pause`".to_owned()),
        }
    }
}

/// A phase on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Until {
    /// The additive steps.
    Expand,
    /// And the filling of existing rows.
    Backfill,
    /// Everything.
    Contract,
}

impl From<Until> for Phase {
    fn from(until: Until) -> Self {
        match until {
            Until::Expand => Self::Expand,
            Until::Backfill => Self::Backfill,
            Until::Contract => Self::Contract,
        }
    }
}

/// `abort`.
#[derive(Debug, Args)]
pub struct AbortArgs {
    /// The migration [default: the newest one that is under way]
    pub migration: Option<String>,
    /// How long to wait for running versions that need what would go: `30s`, `10m`, `2h` [default: do not wait]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "0s", hide_default_value = true)]
    pub wait: Duration,
    /// Say that the data of a table or column which the migration made may be lost, `orders` or `users.note`; repeatable
    #[arg(long, value_name = "NAME")]
    pub allow_drop: Vec<String>,
    /// The databases.
    #[command(flatten)]
    pub fleet: FleetArgs,
}

/// `undo`.
#[derive(Debug, Args)]
pub struct UndoArgs {
    /// The migration [default: the newest one of which something is kept]
    pub migration: Option<String>,
    /// How long to wait for running versions that would not work with what comes back: `30s`, `10m`, `2h` [default: do not wait]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "0s", hide_default_value = true)]
    pub wait: Duration,
    /// The databases.
    #[command(flatten)]
    pub fleet: FleetArgs,
}

/// `purge`.
#[derive(Debug, Args)]
pub struct PurgeArgs {
    /// The migration [default: all of which something is kept]
    pub migration: Option<String>,
    /// The databases.
    #[command(flatten)]
    pub fleet: FleetArgs,
}

/// `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Keep looking: a live picture on a terminal, elsewhere one after each change
    #[arg(long)]
    pub watch: bool,
    /// Say what waits for whom where contract phases wait so long for a version that is gone, see `apply --soak` [default:
    /// schemadiff.toml, or not at all]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub soak: Option<Duration>,
    /// Exit with 1 when migrations are left, 8 when a step waits for running versions, 10 when somebody works
    #[arg(long, conflicts_with = "watch")]
    pub exit_code: bool,
    /// How often to look
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "1s", requires = "watch")]
    pub interval: Duration,
    /// The databases.
    #[command(flatten)]
    pub fleet: FleetArgs,
}

/// `retire`.
#[derive(Debug, Args)]
pub struct RetireArgs {
    /// The instance as `status` names it
    #[arg(value_name = "APP/INSTANCE")]
    pub instance: Target,
    /// Why; it is kept in the ledger
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub reason: String,
    /// How long it must have been silent
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "30s")]
    pub grace: Duration,
}

/// `snapshot`.
#[derive(Debug, Args)]
pub struct SnapshotArgs {
    /// The side to read [default: the database]
    #[arg(long, value_name = "SIDE")]
    pub from: Option<Side>,
    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "PATH")]
    pub output: Option<PathBuf>,
}

/// `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Rows in the largest table before the migration
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub rows: u64,
    /// Directory with built `shop-v1` and `shop-v2` [default: built with cargo from examples/shop]
    #[arg(long, value_name = "DIR")]
    pub shop: Option<PathBuf>,
}

/// `OLD=NEW`; which part is a table and which a column is decided when both schemas are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    /// Dotted name as given.
    pub from: String,
    /// Dotted name as given.
    pub to: String,
}

impl FromStr for Rename {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((from, to)) if !from.trim().is_empty() && !to.trim().is_empty() && !to.contains('=') => {
                Ok(Self { from: from.trim().to_owned(), to: to.trim().to_owned() })
            }
            _ => Err("write OLD=NEW, for example users.fullname=users.display_name".to_owned()),
        }
    }
}

/// `--backfill`.
#[derive(Debug, Clone)]
pub struct Backfill {
    /// Dotted name as given.
    pub column: String,
    /// The expression.
    pub sql: String,
}

impl FromStr for Backfill {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((column, sql)) if !column.trim().is_empty() && !sql.trim().is_empty() => {
                Ok(Self { column: column.trim().to_owned(), sql: sql.trim().to_owned() })
            }
            _ => Err("write COLUMN=SQL, for example users.email_key=lower(email)".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn speeds() {
        assert_eq!("auto".parse(), Ok(Speed(None)));
        assert_eq!("25%".parse(), Ok(Speed(Some(0.25))));
        assert_eq!("100".parse(), Ok(Speed(Some(1.0))));
        for bad in ["0", "101%", "-3", "fast", "NaN", ""] {
            assert!(bad.parse::<Speed>().is_err(), "{bad}");
        }
    }

    #[test]
    fn renames() {
        assert_eq!("a.b=a.c".parse(), Ok(Rename { from: "a.b".into(), to: "a.c".into() }));
        for bad in ["", "a", "=b", "a=", "a=b=c"] {
            assert!(bad.parse::<Rename>().is_err(), "{bad}");
        }
    }
}
