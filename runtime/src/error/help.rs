//! What to do about each error.

use super::Error;

impl Error {
    /// What to do, imperative; several entries are several ways out.
    pub fn help(&self) -> Vec<String> {
        let one = |text: &str| vec![text.to_owned()];
        match self {
            Self::Unreadable { .. } => one("write the first migration with `cargo schemadiff new NAME`, or name the directory"),
            Self::PlanMalformed { .. } | Self::PlanEdited { .. } => vec![
                "restore the file from version control".to_owned(),
                "or remove the migration, if no database has applied it, and write it again with `cargo schemadiff new`".to_owned(),
            ],
            Self::FormatTooNew { .. } | Self::LedgerTooNew { .. } => one("update schemadiff"),
            Self::TwoChildren { second, .. } => vec![format!(
                "remove {second} and write it again with `cargo schemadiff new`, so that it follows the other one"
            )],
            Self::OtherDirectory { .. }
            | Self::ParentMissing { .. }
            | Self::BrokenChain { .. }
            | Self::LockHead { .. }
            | Self::LockEdited { .. }
            | Self::LockMalformed { .. } => {
                one("restore the migrations and schemadiff.lock together, from one commit")
            }
            Self::OtherDialect { .. } => one("use the address of a database of that engine, or the directory of the other migrations"),
            Self::HistoryRewritten { .. } => one("restore the migration as it was applied, and put the change into a new one"),
            Self::NoMigrations { .. } => one("write the first migration with `cargo schemadiff new NAME`, put the directory into the program with `schemadiff::embed!()`, and pass it to `Lockstep::builder`"),
            Self::HistoryForked { .. } => one("deploy from a branch that contains both migrations"),
            Self::OwnSchema { .. } => one("run `cargo schemadiff check`, it names each mistake"),
            Self::NoAddress => one("pass it with `.database_url(..)`, or set DATABASE_URL"),
            Self::NothingDeclared { .. } => vec![
                "name the crate that has the structs in this program (`use models as _;`), so that it is linked".to_owned(),
                "or say with `.schema(..)` what this program uses; `Schema::default()` says nothing at all".to_owned(),
            ],
            Self::NotForTenant { .. } => vec![
                "take what is shared into migrations of the database itself (without `schema` in the address), and leave it out of those of the tenants".to_owned(),
                "where it is compatibility views, write the migration again with --strategy synced".to_owned(),
            ],
            Self::NoTenant { schema } => {
                one(&format!("check `schema` in the address, or create it: CREATE SCHEMA \"{schema}\""))
            }
            Self::TenantSchema { .. } => one("write postgres://user@host/database?schema=tenant_1"),
            Self::Address => one("write postgres://user@host/database or sqlite:path/to/file"),
            Self::EngineMissing { dialect } => vec![format!("turn on the feature `{dialect}` of the crate schemadiff")],
            Self::Connect { address, .. } if address.starts_with("sqlite:") => vec![
                "check the path and the rights on it; it is taken from the current directory unless it starts with /".to_owned(),
                "to begin with an empty database: `cargo schemadiff apply` makes the file, and so does `?mode=rwc` after the path"
                    .to_owned(),
            ],
            Self::ServerTooOld { .. } => one("upgrade the server"),
            Self::Connect { not_yet: true, .. } => one("try again when the server has started; its log says how far it is"),
            Self::Connect { .. } => one("check that the server runs, and the user, password and database in the address"),
            Self::Forbidden { grant, .. } => vec![grant.clone()],
            Self::Database { cause, .. } if cause.contains("database is locked") => {
                one("another process is in a write transaction on the file: try again when it has ended it")
            }
            Self::Database { cause, .. } if cause.contains("file is not a database") => {
                one("check the path: the file is there, and it is no SQLite database")
            }
            Self::Database { .. } => one("see the server's log"),
            Self::ConnectionLost { .. } => {
                one("see the server's log, and run the command again: nothing is half-done that the next run does not finish")
            }
            Self::Retired { taken_back: false, .. } => {
                one("deploy a newer version; the database has left what this one needs")
            }
            Self::Retired { migration, .. } => vec![
                format!("apply {migration} again with `cargo schemadiff apply`; the version may run when that step is done"),
                "or deploy a version that does not need it".to_owned(),
            ],
            Self::NotServed { .. } => vec![
                "deploy a version whose schema fits, or apply its migrations".to_owned(),
                "see `cargo schemadiff status` for what this database has applied".to_owned(),
            ],
            Self::AbortAfterContract { .. } => vec![
                "`cargo schemadiff undo` takes a contract phase back that set aside what it would have dropped (docs/lockstep.md)".to_owned(),
                "or go forward: write a new migration that leads where you want".to_owned(),
            ],
            Self::NothingKept => one("set `undo-window` in schemadiff.toml before a migration is written: its contract phase then keeps what it drops for so long"),
            Self::NotPurged { .. } => one("remove what depends on it, then `cargo schemadiff purge`; until then it stays"),
            Self::NotUndoable { kept, .. } if !kept.is_empty() => vec![
                "what is kept can be read and copied where it stands until then (docs/lockstep.md, \"The way back\")".to_owned(),
                "go forward: write a new migration that leads where you want; next time, drop what shall be able to come back in a migration of its own"
                    .to_owned(),
            ],
            Self::NotUndoable { .. } | Self::Purged { .. } => one("go forward: write a new migration that leads where you want"),
            Self::NotBehindViews { .. } => vec![
                "open these connections through the hook (docs/lockstep.md), or end them, and apply again".to_owned(),
                "or take the migration back with `cargo schemadiff abort` if it has begun, remove it, and write it again with `cargo schemadiff new NAME --strategy synced`"
                    .to_owned(),
            ],
            Self::ReadOnly { .. } => one("give the address of the primary; pools may go to standbys (`Builder::reads_from_standbys`)"),
            Self::OnStandby { .. } => one("say `Lockstep::builder(..).reads_from_standbys()`: the instance then counts by its heartbeats"),
            Self::StandbyBehind { .. } => one("look how far behind the standby is (`pg_stat_replication` on the primary); a pool tries again by itself"),
            Self::NothingToAbort { .. } => one("see `cargo schemadiff status` for what can be taken back"),
            Self::NothingToPace => one("check the address; `cargo schemadiff apply` makes the ledger"),
            Self::WrongStart { .. } => one("compare with `cargo schemadiff diff`, and settle the difference before applying"),
            Self::NoSuchInstance { .. } => one("see `cargo schemadiff status` for the names; one whose version is retired already holds nothing"),
            Self::InstanceAlive { .. } => one("stop it in the ordinary way; it gives its lease back by itself"),
            Self::BadRows { rows, .. } if rows.iter().all(|bad| bad.finds.starts_with("views") || bad.finds.starts_with("publications")) => vec![
                "nothing was changed; change or drop what is named so that it does without the column or table, then apply again".to_owned(),
                "or leave the column or table in place".to_owned(),
            ],
            Self::BadRows { rows, .. } if rows.iter().all(|bad| !bad.finds.starts_with("rows ")) => vec![
                "nothing was changed; change what is named, then apply again".to_owned(),
                "or change the migration so that it suits it".to_owned(),
            ],
            Self::BadRows { .. } => vec![
                "nothing was changed; correct or remove those rows, then apply again".to_owned(),
                "or change the migration so that it suits them".to_owned(),
            ],
            Self::StepFailed { rows, .. } if !rows.is_empty() => one(
                "both versions go on working; correct the rows that are named, then apply again: the step begins anew, or goes on where it stopped",
            ),
            Self::StepFailed { .. } => one("correct the cause the server names, then apply again: the step begins anew, or goes on where it stopped"),
            Self::LockNotHad { .. } => one("end the sessions that are named, or apply again when they have ended; nothing is half-done"),
            Self::BackfillIncomplete { .. } => one("look at the rows the step's `pending` condition selects; apply again when they can be filled"),
            Self::BackfillRow { .. } => vec![
                "correct that row and apply again: the rows before it are filled, and it goes on there".to_owned(),
                "or take the migration back with `cargo schemadiff abort` and write it with another expression; all versions work meanwhile"
                    .to_owned(),
            ],
            Self::NeedsApplication { function, .. } => vec![
                "start the new version of the application: it registers the function \
                 (`Lockstep::builder(..).backfill(..)`) and fills the rows"
                    .to_owned(),
                format!("or run a job that applies with it: `Backfills::default().with(\"{function}\", ..)` in `ApplyOptions`"),
                "then apply again".to_owned(),
            ],
            Self::BackfillAside { too_many, .. } => vec![
                "`cargo schemadiff failed-rows` lists them with their reasons; correct the rows or the function, or give the \
                 rows their value by hand"
                    .to_owned(),
                match too_many {
                    true => "they are tried again when the step is carried out again; `[backfill] max-failed-rows` is how \
                             many may be kept aside"
                        .to_owned(),
                    false => "all others are filled; these are tried again when the step is carried out again".to_owned(),
                },
            ],
            Self::BackfillNull { .. } => vec![
                "give those rows the values that the expression needs, and apply again".to_owned(),
                "or take the migration back with `cargo schemadiff abort` and write it with another expression, such as coalesce(.., ..)"
                    .to_owned(),
            ],
            Self::NotInStep { .. } => vec![
                "find out what wrote these rows past the trigger (ALTER TABLE .. DISABLE TRIGGER, a restore, another tool), give both \
                 columns of each row the value that is right, and apply again; all versions work meanwhile"
                    .to_owned(),
                "if what is stored is right, apply again with `--compare off`".to_owned(),
            ],
            Self::WouldBreak { .. } => one(
                "drop these views and triggers, or make them anew without what goes (what replaces it is there already), then apply again; \
                 all versions work meanwhile",
            ),
            Self::AbortedMeanwhile { .. } => {
                one("ask whoever did it; `cargo schemadiff apply` carries the migration out from its beginning")
            }
            Self::BackfillTarget { .. } => vec![
                "see `cargo schemadiff diff` for what was changed by hand, and take it back; then apply again".to_owned(),
                "or take the migration back with `cargo schemadiff abort`".to_owned(),
            ],
            Self::NoSpace { .. } => one("make room, and apply again: what was filled stays, and it goes on there"),
            Self::NotDone { .. } => one("look at the step's `done_when` query and at what else changes that object"),
            Self::NameTaken { .. } => vec![
                "rename it, or drop it if nobody needs it, and apply again; nothing is half-done and all versions work meanwhile".to_owned(),
                "or take the migration back with `cargo schemadiff abort` and write it with another name".to_owned(),
            ],
            Self::ForeignKeys { .. } => one("run PRAGMA foreign_key_check, correct or remove the rows, and apply again"),
            Self::LostWork => one("let the other process finish; see `cargo schemadiff status`"),
            Self::GateClosed { back: true, .. } => {
                one("stop the named instances, or deploy the version before it there; then take it back again, or with `--wait`")
            }
            Self::GateClosed { holders, .. } if !holders.is_empty() && holders.iter().all(|h| h.gone_ms.is_some()) => {
                one("they are gone, and waited for until the soak time is over: apply again then, or with `--wait`, or with a shorter `--soak`")
            }
            Self::GateClosed { .. } => one("stop the named instances, or deploy the newer version there; then apply again"),
            Self::Large { .. } => vec![
                "where no database has begun the migration and the table has grown since it was written: remove it and write it again, `cargo schemadiff new NAME`, which takes tables of unknown size for large"
                    .to_owned(),
                "or let all who use the table wait for it, in a quiet hour: `cargo schemadiff apply --accept-stall`".to_owned(),
            ],
            Self::WouldLose { .. } => vec![
                "copy what may still be needed, then say that it may go: `cargo schemadiff abort --allow-drop NAME`, for each".to_owned(),
                "or go forward: write a new migration that leads where you want".to_owned(),
            ],
            Self::Behind { .. } => vec![
                "carry the contract phase of the earlier one out: `cargo schemadiff apply`, which waits for the versions that need what it drops".to_owned(),
                "`cargo schemadiff status` names them".to_owned(),
            ],
            Self::LedgerDamaged { .. } => vec![
                "somebody changed its rows by hand: restore them, from a backup if need be (docs/lockstep.md, \"The ledger\")".to_owned(),
                "if nobody did, report this with the error and the rows of the migration".to_owned(),
            ],
            Self::WorkerBusy { .. } => one("wait for it, or stop it; see `cargo schemadiff status`"),
            Self::NotServedInTime { .. } => one("see `cargo schemadiff status` for what is waited for, or raise the deadline"),
            Self::Contradiction { .. } => one("report this with the plan and the output of `cargo schemadiff status --json`"),
            Self::InMemory => one("use a file, or PostgreSQL; a test can have a file in a temporary directory"),
            Self::NotThroughDiesel { migration } => vec![
                format!("take the whole migration back with `cargo schemadiff abort {migration}`, before its contract phase"),
                "or go forward: write a new migration that leads where you want".to_owned(),
            ],
            Self::Thread { .. } => one("start the program again; what was done is on record"),
            Self::Interrupted => one("apply again to go on"),
        }
    }
}
