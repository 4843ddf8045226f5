//! The demo's story, from version 1 alone to version 2 alone.

use std::{path::Path, sync::Arc, time::Duration};

use schemadiff::{
    embed,
    lockstep::admin::{self, ApplyOptions, ApplyReport},
    model::Dialect,
    plan::{Phase, Plan, Strategy},
};

use super::{
    super::{
        args::{DemoArgs, IntentArgs},
        compare::{Spelling, compare},
        context::Context,
        planning,
    },
    Summary,
    account::Expected,
    database::DemoDatabase,
    heading, narrate,
    shops::{Counters, Process, Shop},
};
use crate::{
    Error, Kind, Result,
    dialect::dialect_of,
    migrations::Migrations,
    report::{
        plan::{Surroundings, render, summary as plan_summary},
        progress::Terminal,
    },
    side::Side,
};

/// How long each version serves before something happens to it.
const SERVE: Duration = Duration::from_secs(2);

/// A little more than the interval in which processes report.
const TICK: Duration = Duration::from_millis(400);

/// How long the contract phase may wait for processes that have just ended.
const AFTER_THE_LAST: Duration = Duration::from_secs(60);

struct Story<'s> {
    context: &'s Context,
    shop: &'s Shop,
    url: &'s str,
    dialect: Dialect,
    journals: &'s Path,
    running: Vec<Process>,
    ended: Vec<Counters>,
    expected: Expected,
    summary: Summary,
}

/// Tells it.
///
/// # Errors
/// When something fails that is not one of the shops' statements: those are counted.
pub async fn tell(context: &Context, args: &DemoArgs, shop: &Shop, database: &DemoDatabase) -> Result<Summary> {
    let dialect = dialect_of(&database.url)?;
    let journals = tempfile::tempdir().map_err(|e| {
        Error::new(Kind::Apply, "SD0743", "no temporary directory can be made").cause(e).help("set TMPDIR")
    })?;
    let mut story = Story {
        context,
        shop,
        url: &database.url,
        dialect,
        journals: journals.path(),
        running: Vec::new(),
        ended: Vec::new(),
        expected: Expected::seeded(args.rows),
        summary: Summary { dialect: dialect.as_str(), ..Summary::default() },
    };
    story.version_1(args.rows, &database.label).await?;
    story.plan().await?;
    story.expand().await?;
    story.version_2().await?;
    story.gate().await?;
    story.contract().await?;
    story.end().await?;
    Ok(story.summary)
}

impl Story<'_> {
    async fn version_1(&mut self, rows: u64, place: &str) -> Result<()> {
        heading(self.context, &format!("1. Version 1 of the shop serves from {place}"));
        self.apply(1, Phase::Contract, Duration::ZERO).await?;
        self.shop.seed(self.url, rows).await?;
        narrate(self.context, &format!("  {} customers are there", crate::report::count(rows)));
        self.start(1, &["v1-a", "v1-b"]).await?;
        tokio::time::sleep(SERVE).await;
        self.summary.stall_ms.before = self.stall().await;
        Ok(())
    }

    async fn plan(&mut self) -> Result<()> {
        heading(self.context, "2. Version 2 renames a column, adds one that must be filled, and an index: the plan");
        let v1 = Migrations::read(&self.shop.migrations(1, self.dialect))?;
        let v2 = Migrations::read(&self.shop.migrations(2, self.dialect))?;
        let Some(committed) = v2.head() else {
            return v2.require_any();
        };
        let from = Side::Database(self.url.to_owned());
        let to = Side::Artifact(self.shop.program(2));
        let intent = IntentArgs::default();
        let comparison = compare(self.context, &from, &to, &intent, &v1, Spelling::BestEffort).await?;
        // The shop of the demo shows what it was committed with, whatever runs in this database.
        let strategy = committed.strategy.clone().unwrap_or_else(|| Strategy::synced("no other was chosen"));
        let plan = planning::plan(&comparison, &committed.id, committed.parent.as_deref(), &strategy)?;
        self.summary.plan_as_committed = meaning(&plan) == meaning(committed);
        let around = Surroundings { sizes: Some(&comparison.sizes), ..Surroundings::default() };
        narrate(self.context, &format!("  {}\n\n{}", plan_summary(&plan), render(&plan, around).trim_end()));
        self.say_if_stale(&plan, committed);
        Ok(())
    }

    fn say_if_stale(&mut self, plan: &Plan, committed: &Plan) {
        if !self.summary.plan_as_committed {
            self.summary.problems.push(format!(
                "the plan for the live database is not the committed migration {}: {}, committed {}",
                committed.id,
                plan_summary(plan),
                plan_summary(committed)
            ));
        }
    }

    async fn expand(&mut self) -> Result<()> {
        heading(self.context, "3. Expand and backfill, while version 1 serves");
        let report = self.apply(2, Phase::Backfill, Duration::ZERO).await?;
        self.count(&report);
        self.summary.stall_ms.expand_and_backfill = self.stall().await;
        Ok(())
    }

    async fn version_2(&mut self) -> Result<()> {
        heading(self.context, "4. Version 2 joins, both serve");
        self.start(2, &["v2-a", "v2-b"]).await?;
        tokio::time::sleep(SERVE).await;
        self.summary.stall_ms.both_versions = self.stall().await;
        Ok(())
    }

    async fn gate(&mut self) -> Result<()> {
        heading(self.context, "5. Contract is tried while version 1 lives");
        match self.apply(2, Phase::Contract, Duration::ZERO).await {
            Err(Failure::Gate(holders)) => {
                self.summary.gate_held_by = holders;
                Ok(())
            }
            // Nobody held it: the summary says so.
            Ok(report) => {
                self.count(&report);
                Ok(())
            }
            Err(Failure::Other(error)) => Err(error),
        }
    }

    async fn contract(&mut self) -> Result<()> {
        heading(self.context, "6. Version 1 stops, contract runs while version 2 serves");
        self.stop(1).await?;
        let report = self.apply(2, Phase::Contract, AFTER_THE_LAST).await?;
        self.count(&report);
        self.summary.stall_ms.contract = self.stall().await;
        tokio::time::sleep(SERVE).await;
        self.summary.stall_ms.after = self.stall().await;
        Ok(())
    }

    async fn end(&mut self) -> Result<()> {
        heading(self.context, "7. Version 2 stops, everything is looked for");
        self.stop(2).await?;
        let v2 = Migrations::read(&self.shop.migrations(2, self.dialect))?;
        let from = Side::Database(self.url.to_owned());
        let to = Side::Artifact(self.shop.program(2));
        let intent = IntentArgs::default();
        let comparison = compare(self.context, &from, &to, &intent, &v2, Spelling::BestEffort).await?;
        let left = comparison.changes()?;
        self.summary.final_diff_empty = left.is_empty();
        self.summary.problems.extend(left.iter().map(|change| format!("the final diff would {change}")));
        drop(comparison);
        let account = std::mem::take(&mut self.expected).compare(&self.shop.export(self.url).await?)?;
        let s = &mut self.summary;
        (s.rows_expected, s.rows_lost, s.rows_unexplained) =
            (account.rows_expected, account.rows_lost, account.rows_unexplained);
        s.problems.extend(account.examples);
        s.processes = self.ended.len();
        for counters in &self.ended {
            s.statements += counters.statements;
            s.failed_statements += counters.failed;
            s.wrong_reads += counters.wrong_reads;
            s.max_stall_ms = s.max_stall_ms.max(counters.max_stall_ms);
            s.problems.extend(counters.errors.iter().cloned());
        }
        Ok(())
    }

    async fn start(&mut self, version: u32, names: &[&str]) -> Result<()> {
        for name in names {
            let process = self.shop.serve(version, name, self.url, self.journals).await?;
            narrate(self.context, &format!("  process {name} of version {version} serves"));
            self.running.push(process);
        }
        Ok(())
    }

    async fn stop(&mut self, version: u32) -> Result<()> {
        let (stopping, staying) = self.running.drain(..).partition(|p| p.version == version);
        self.running = staying;
        let stopping: Vec<Process> = stopping;
        for process in stopping {
            let (name, journal) = (process.name.clone(), process.journal.clone());
            let counters = process.stop().await?;
            let sent = crate::report::count(counters.statements);
            narrate(
                self.context,
                &format!("  process {name} ended after {sent} statements, {} failed", counters.failed),
            );
            self.expected.add(&journal)?;
            self.ended.push(counters);
        }
        Ok(())
    }

    /// The longest stall since the last time, over all processes that run.
    async fn stall(&self) -> u64 {
        // What the processes know by now, they say within the next interval.
        tokio::time::sleep(TICK).await;
        self.running.iter().map(Process::stall).max().unwrap_or(0)
    }

    fn count(&mut self, report: &ApplyReport) {
        self.summary.steps += report.steps.len();
        self.summary.rows_backfilled += report.steps.iter().map(|s| s.rows).sum::<u64>();
    }

    async fn apply(&self, version: u32, until: Phase, wait: Duration) -> Result<ApplyReport, Failure> {
        let migrations = embed::Migrations::load(self.shop.migrations(version, self.dialect))?;
        let options = ApplyOptions { until, wait: Some(wait), ..ApplyOptions::default() };
        // Standard output is the summary's alone.
        let progress = Arc::new(Terminal::new(self.context.report.quiet));
        Ok(admin::apply(self.url, &migrations, &options, progress).await?)
    }
}

/// Why applying stopped.
enum Failure {
    /// Living versions hold the gate.
    Gate(Vec<String>),
    Other(Error),
}

impl From<schemadiff::Error> for Failure {
    fn from(error: schemadiff::Error) -> Self {
        match error {
            schemadiff::Error::GateClosed { holders, .. } => {
                Self::Gate(holders.iter().map(ToString::to_string).collect())
            }
            other => Self::Other(other.into()),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Gate(holders) => {
                Self::new(Kind::Waiting, "SD0840", "contract still waits for a version that has ended")
                    .cause(holders.join("; "))
            }
            Failure::Other(error) => error,
        }
    }
}

/// What a plan does. Timeouts, and questions whether a table is still small, follow the size of the tables, which the committed migration
/// could not know.
fn meaning(plan: &Plan) -> String {
    let mut plan = plan.clone();
    for step in &mut plan.steps {
        step.statement_timeout_ms = 0;
        step.only_while_small.clear();
    }
    plan.compute_checksum()
}
