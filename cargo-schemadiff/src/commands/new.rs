//! `cargo schemadiff new`: plans, proves on a scratch database, writes.

use std::path::{Path, PathBuf};

use schemadiff::{
    model::{Dialect, Fingerprint, Schema, between},
    plan::{Plan, SNAPSHOT_FORMAT, Snapshot},
};
use serde_json::json;

use super::{
    Outcome,
    args::NewArgs,
    compare::{Comparison, Spelling, compare},
    context::Context,
    planning, strategy,
};
use crate::{
    Error, Kind, Result,
    dialect::{Connection, ddl, dialect_of},
    migrations::{LOCK_FILE, Migrations, Sources, new_id, snapshot_text, write_atomically, write_migration},
    prove,
    report::{
        JSON_FORMAT,
        describe::first_differences,
        paint,
        plan::{Surroundings, render, render_left_alone, summary},
        progress,
        proof::render_proof,
        style,
    },
    side::Side,
};

pub(super) async fn run(context: &Context, args: &NewArgs) -> Result<Outcome> {
    let dir = context.config.dir();
    let migrations = Migrations::read(&dir)?;
    let parent = migrations.head().map(|plan| plan.id.clone());
    let id = new_id(&args.name, parent.as_deref())?;
    let from = args.from.clone().unwrap_or(Side::Lock);
    let to = args.to.clone().unwrap_or(Side::Crate);
    let begun = begin(context, &dir, &migrations, &from, &to)?;
    let mut comparison = compare(context, &from, &to, &args.intent, &migrations, Spelling::BestEffort).await?;
    starts_at_the_head(&migrations, &comparison)?;
    let mut server = server(context, &mut comparison).await?;
    comparison.version = server.server().version;
    let changes = comparison.changes()?;
    if changes.is_empty() {
        return nothing_to_write(context, args, &dir, &migrations, &comparison);
    }
    let strategy = strategy::choose(context, args.intent.strategy, &comparison, parent.as_deref()).await?;
    let plan = planning::plan(&comparison, &id, parent.as_deref(), &strategy)?;
    let proof = prove_it(context, &comparison, &plan, &mut server).await;
    // What is not made by any plan may be what the server misses.
    let proof = proof.map_err(|error| {
        if !matches!(error.code, "SD0612" | "SD0613") {
            return error;
        }
        comparison
            .beyond
            .iter()
            .fold(error, |e, what| e.help(format!("perhaps because {what}, and is to be made by hand")))
    })?;
    let lock = lock_after(&comparison, &plan)?;
    let written = if args.dry_run { None } else { Some(write_migration(&dir, &plan, &lock)?) };
    if let (Some(begun), true) = (begun, written.is_some()) {
        begun.keep();
    }
    let (opaque, beyond) = (&comparison.opaque, &comparison.beyond);
    let around = Surroundings { sizes: Some(&comparison.sizes), opaque, beyond, unmanaged: &comparison.unmanaged };
    context.report.json(&json!({
        "format": JSON_FORMAT,
        "command": "new",
        "written": written.as_ref().map(|path| path.display().to_string()),
        "plan": plan,
        "proof": proof,
        "beyond": comparison.beyond,
    }))?;
    let last = match &written {
        Some(path) => format!("wrote {} and {}", path.display(), dir.join(LOCK_FILE).display()),
        None => "dry run, nothing written".to_owned(),
    };
    context.report.say(format!(
        "{}\n\n{}{}{}{}\n",
        paint(style::HEADING, format!("{id}: {}", summary(&plan))),
        render(&plan, around),
        render_left_alone(around),
        render_proof(&proof),
        paint(style::GOOD, last),
    ))?;
    Ok(Outcome::Done)
}

/// Structs that say the same in other words have no migration. The lock file notes the words all the same: `check` knows
/// them by it, without a server that could say that they mean the same.
fn nothing_to_write(
    context: &Context,
    args: &NewArgs,
    dir: &Path,
    migrations: &Migrations,
    comparison: &Comparison,
) -> Result<Outcome> {
    let from_lock = args.from.as_ref().is_none_or(|from| *from == Side::Lock);
    let from_code = matches!(args.to.as_ref().unwrap_or(&Side::Crate), Side::Crate | Side::Artifact(_));
    let other_words = migrations.lock.as_ref().filter(|lock| {
        from_lock && from_code && !args.dry_run && lock.head.is_some() && lock.sources != comparison.sources
    });
    let mut said = "no differences, nothing to write".to_owned();
    let mut written = None;
    if let Some(lock) = other_words {
        let path = dir.join(LOCK_FILE);
        let lock = Snapshot { sources: comparison.sources.clone(), ..lock.clone() };
        write_atomically(&path, &snapshot_text(&lock)?)?;
        said = format!("no differences; {} has the structs' new words for the same schema", path.display());
        written = Some(path.display().to_string());
    }
    context
        .report
        .json(&json!({ "format": JSON_FORMAT, "command": "new", "written": null, "lock": written, "plan": null, "beyond": comparison.beyond }))?;
    let around = Surroundings { beyond: &comparison.beyond, ..Surroundings::default() };
    let style = if comparison.beyond.is_empty() { style::GOOD } else { style::WARN };
    context.report.say(format!("{}\n{}", paint(style, said), render_left_alone(around)))?;
    Ok(Outcome::Done)
}

/// The empty lock file of a first migration. Dropped before the migration is written (an error, Ctrl-C, nothing to write), it
/// takes the file away again, and the directory with it if that was not there.
struct Begun {
    lock: Option<PathBuf>,
    directory: Option<PathBuf>,
}

impl Begun {
    /// The migration is written.
    fn keep(mut self) {
        self.lock = None;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let Some(lock) = self.lock.take() else { return };
        // What cannot be removed is an empty lock file, which the next run begins with.
        let _ = std::fs::remove_file(lock);
        if let Some(directory) = &self.directory {
            let _ = std::fs::remove_dir(directory);
        }
    }
}

/// A crate that embeds its migrations compiles only when there is a lock file, so the first migration begins with an
/// empty one.
fn begin(context: &Context, dir: &Path, migrations: &Migrations, from: &Side, to: &Side) -> Result<Option<Begun>> {
    let crates = [from, to].contains(&&Side::Crate);
    if !crates || migrations.lock.is_some() || !migrations.plans.is_empty() {
        return Ok(None);
    }
    let known = |side: &Side| match side {
        Side::Database(url) => dialect_of(url).ok(),
        _ => None,
    };
    let dialect = context.dialect(&[(from, known(from)), (to, known(to))], migrations)?;
    let empty =
        Snapshot { format: SNAPSHOT_FORMAT, dialect, head: None, sources: Sources::new(), schema: Schema::default() };
    let (lock, directory) = (dir.join(LOCK_FILE), (!dir.exists()).then(|| dir.to_owned()));
    write_atomically(&lock, &snapshot_text(&empty)?)?;
    Ok(Some(Begun { lock: Some(lock), directory }))
}

/// A migration starts where the one before it ends, or the chain breaks.
fn starts_at_the_head(migrations: &Migrations, comparison: &Comparison) -> Result<()> {
    let Some((head, lock)) = migrations.head().zip(migrations.lock.as_ref()) else {
        return Ok(());
    };
    if Fingerprint::of(&comparison.current) == head.after {
        return Ok(());
    }
    Err(Error::new(Kind::Migrations, "SD0437", format!("the starting side is not where migration {} ends", head.id))
        .cause(first_differences(&between(&lock.schema, &comparison.current), "on the starting side"))
        .help("start from the lock file: leave --from away")
        .help("or apply what is there first: cargo schemadiff apply"))
}

/// The server that the plan is proven on: its version decides what the plan may use.
async fn server(context: &Context, comparison: &mut Comparison) -> Result<Connection> {
    if let Some(connection) = comparison.connection.take() {
        return Ok(connection);
    }
    match comparison.dialect {
        Dialect::Sqlite => Connection::open("sqlite::memory:").await,
        Dialect::Postgres | Dialect::Mysql => match context.config.database_url()? {
            Some(url) => Connection::open(&url).await,
            None => Err(Error::new(
                Kind::Usage,
                "SD0216",
                "a migration for PostgreSQL is proven on a server before it is written",
            )
            .cause("no database is named")
            .help("pass --database-url or set DATABASE_URL: a scratch database is made beside it and removed again")),
        },
    }
}

async fn prove_it(
    context: &Context,
    comparison: &Comparison,
    plan: &Plan,
    server: &mut Connection,
) -> Result<prove::Proof> {
    let visible = !context.report.quiet && !context.report.json;
    let bar = progress::spinner("proving the plan on a scratch database", visible);
    let ddl = ddl(comparison.dialect, comparison.version)?;
    let mut scratch = server.scratch().await?;
    let (scratch_connection, current) = (&mut scratch.connection, &comparison.current);
    let proof = match comparison.options.objects_left_alone {
        true => prove::prove_beside_objects(scratch_connection, ddl.as_ref(), current, plan).await,
        false => prove::prove(scratch_connection, ddl.as_ref(), current, plan).await,
    };
    // What the proof found matters more than whether its scratch database went away.
    let removed = scratch.remove().await;
    bar.finish_and_clear();
    let proof = proof?;
    removed.map(|()| proof)
}

/// Columns as the plan leaves them in the tables, new ones last. The next migration begins there, and where an engine makes a
/// table anew to change it, columns keep their places: statements that a connection keeps prepared go by them.
fn in_the_order_of_the_database(schema: &mut Schema, current: &Schema, plan: &Plan) -> Result<()> {
    let mut left = current.clone();
    for step in &plan.steps {
        step.apply_to(&mut left).map_err(|e| {
            Error::new(Kind::Internal, "SD0903", format!("step {} does not fit the schema before it", step.id)).cause(e)
        })?;
    }
    for (name, table) in &mut schema.tables {
        let Some(left) = left.table(name) else { continue };
        table.columns.sort_by_key(|column| left.columns.iter().position(|it| it.name == column.name));
    }
    Ok(())
}

fn lock_after(comparison: &Comparison, plan: &Plan) -> Result<Snapshot> {
    let mut schema = comparison.desired.clone();
    in_the_order_of_the_database(&mut schema, &comparison.current, plan)?;
    schema.opaque.clear();
    if comparison.options.objects_left_alone {
        schema.objects.clear();
    }
    Ok(Snapshot {
        format: SNAPSHOT_FORMAT,
        dialect: comparison.dialect,
        head: Some(plan.id.clone()),
        sources: comparison.sources.clone(),
        schema,
    })
}
