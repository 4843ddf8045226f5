//! Brings two sides into one spelling, so that they can be compared.

use std::collections::{BTreeMap, BTreeSet};

use schemadiff::{
    artifact::TableDecl,
    model::{Dialect, Object, ObjectKey, ObjectKind, ObjectName, Opaque, Schema},
};

use super::{args::IntentArgs, code, context::Context, scope, undeclared, unheld};
use crate::{
    Error, Kind, Result,
    dialect::{Connection, Introspection, TableSize, adopt_spelling, check_case, check_names, normalize_statically},
    diff::{self, Change, DiffOptions, Hints},
    migrations::{Migrations, Sources, read_snapshot, source_differences, with_lock_spelling},
    side::Side,
};

/// One side as it was read, before it is brought into a spelling.
enum Read {
    Code(Vec<TableDecl>),
    Database(Box<(Connection, Introspection)>),
    Schema(Dialect, Schema),
    Empty,
}

impl Read {
    fn dialect(&self) -> Option<Dialect> {
        match self {
            Self::Code(_) | Self::Empty => None,
            Self::Database(open) => Some(open.1.server.dialect),
            Self::Schema(dialect, _) => Some(*dialect),
        }
    }
}

/// Two schemas in one spelling, and what was learned on the way.
pub struct Comparison {
    /// Engine.
    pub dialect: Dialect,
    /// Version of the server, or the oldest supported one when no server was asked.
    pub version: u32,
    /// Where it starts.
    pub current: Schema,
    /// Where it should lead.
    pub desired: Schema,
    /// Renames and backfills, from the structs.
    pub hints: Hints,
    /// Sizes of the tables of a live side.
    pub sizes: BTreeMap<ObjectName, TableSize>,
    /// What the structs said where the server spells it differently.
    pub sources: Sources,
    /// What may be assumed.
    pub options: DiffOptions,
    /// Tables of the current side that are left alone.
    pub unmanaged: Vec<String>,
    /// What the model cannot hold, on either side.
    pub opaque: Vec<Opaque>,
    /// Differences in it between two databases, for which nothing is planned.
    pub beyond: Vec<String>,
    /// A connection to the database, where a side is one.
    pub connection: Option<Connection>,
}

/// How the two sides get a server to spell expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// A side that is a database; else the configured one when there is one; else what can be done without.
    BestEffort,
    /// Without a server: what the lock file knows, and what needs none.
    Offline,
}

/// Reads both sides and brings them into one spelling.
///
/// # Errors
/// When a side cannot be read, or the server refuses something that the structs say.
pub async fn compare(
    context: &Context,
    from: &Side,
    to: &Side,
    intent: &IntentArgs,
    migrations: &Migrations,
    spelling: Spelling,
) -> Result<Comparison> {
    // At the same time: a server's catalogue comes while cargo builds or a file is parsed.
    let (read_from, read_to) = tokio::join!(read(context, from, migrations), read(context, to, migrations));
    let (read_from, read_to) = (read_from?, read_to?);
    let dialect = context.dialect(&[(from, read_from.dialect()), (to, read_to.dialect())], migrations)?;
    let mut found = Found::default();
    let mut current = found.schema(dialect, read_from, migrations)?;
    // What the starting side intends was intended before it was written: only the other side's renames are news.
    found.hints = Hints::default();
    // How large a table is where the plan leads says nothing of where it will be carried out.
    let sizes = std::mem::take(&mut found.sizes);
    let theirs = std::mem::take(&mut found.opaque);
    let mut desired = found.schema(dialect, read_to, migrations)?;
    let mut beyond = Vec::new();
    // Only a database tells all that it has.
    unheld::same_tables((&current, &theirs), (&desired, &found.opaque))?;
    if let (Side::Database(_), Side::Database(_)) = (from, to) {
        beyond = unheld::differences(&theirs, &found.opaque);
    }
    found.opaque.extend(theirs);
    found.opaque.sort();
    found.opaque.dedup();
    check_names(dialect, &desired).map_err(|error| at_its_struct(error, &found.places))?;
    check_case(dialect, &desired, &current)?;
    scope::check(&context.scope(), dialect, (from, &current), (to, &desired))?;
    let mut connection = found.connection.take();
    if connection.is_none() && spelling == Spelling::BestEffort && (from.is_code() || to.is_code()) {
        connection = speller(context, dialect).await?;
    }
    if let Some(server) = &mut connection {
        if from.is_code() {
            let done = server.normalize(&mut current, &Schema::default()).await;
            done.map_err(|error| at_its_struct(error, &found.places))?;
        }
        if to.is_code() {
            let done = server.normalize(&mut desired, &current).await;
            done.map_err(|error| at_its_struct(error, &found.places))?;
        }
    } else if to.is_code() {
        adopt_spelling(dialect, &mut desired, &current);
    }
    let sources = if to.is_code() { source_differences(&found.written_to, &desired)? } else { Sources::new() };
    let mut hints = found.hints;
    for rename in &intent.rename {
        diff::add_rename(&mut hints, &format!("{}={}", rename.from, rename.to), &current, &desired)?;
    }
    for backfill in &intent.backfill {
        diff::add_backfill(&mut hints, &backfill.column, &backfill.sql, &current, &desired)?;
    }
    let lock = migrations.lock.as_ref().filter(|lock| lock.dialect == dialect).map(|lock| &lock.schema);
    let is_database = matches!(from, Side::Database(_));
    if to.is_code() {
        let kept = undeclared::keep(&mut desired, &current, &hints, lock.filter(|_| is_database));
        found.opaque.extend(kept.into_iter().filter(|_| is_database));
    } else if from.is_code() {
        undeclared::keep(&mut current, &desired, &Hints::default(), None);
    }
    let mut options = DiffOptions {
        undo_window: context.config.file.undo_window.unwrap_or_default(),
        allowed_drops: diff::allowed_drops(&intent.allow_drop, &current, &desired, &hints)?,
        ..options(from, to, migrations)
    };
    if to.is_code() {
        // Structs declare none: they stay as they are.
        options.objects_left_alone = is_database && !keeps_objects(migrations);
        desired.objects = diff::objects_of(&current, &hints);
        if options.objects_left_alone {
            found
                .opaque
                .extend(current.objects.values().filter(|object| !is_home(object, &desired)).map(|o| left_alone(o)));
        }
    } else if from.is_code() {
        options.objects_left_alone = true;
        current.objects.clone_from(&desired.objects);
    }
    let unmanaged = diff::unmanaged(&current, &desired, &options);
    let mut current = without(current, &unmanaged);
    if options.managed.is_some() {
        found.opaque.extend(undeclared::leave_types(&mut desired, &mut current, lock));
    }
    let version = connection.as_ref().map_or(oldest_version(dialect), |c| c.server().version);
    Ok(Comparison {
        dialect,
        version,
        hints,
        sizes,
        sources,
        unmanaged: unmanaged.iter().map(|name| format!("table {name}")).collect(),
        opaque: found.opaque,
        beyond,
        options,
        current,
        desired,
        connection,
    })
}

impl Comparison {
    /// The changes from the current to the desired schema.
    ///
    /// # Errors
    /// What could be a rename and is not said to be one; a drop that is not acknowledged.
    pub fn changes(&self) -> Result<Vec<Change>> {
        diff::diff(&self.current, &self.desired, &self.hints, &self.options)
    }
}

#[derive(Default)]
struct Found {
    connection: Option<Connection>,
    sizes: BTreeMap<ObjectName, TableSize>,
    opaque: Vec<Opaque>,
    hints: Hints,
    /// Where the structs of either side stand.
    places: BTreeMap<ObjectName, String>,
    /// The side that was read last, as it was written.
    written_to: Schema,
}

impl Found {
    fn schema(&mut self, dialect: Dialect, read: Read, migrations: &Migrations) -> Result<Schema> {
        Ok(match read {
            Read::Empty => Schema::default(),
            Read::Schema(_, schema) => {
                self.opaque.extend(schema.opaque.iter().cloned());
                schema
            }
            Read::Database(open) => {
                let (connection, introspection) = *open;
                // Of two databases the plan is for the first: its server, its rows.
                if self.connection.is_none() {
                    self.connection = Some(connection);
                    self.sizes = introspection.sizes;
                }
                self.opaque.extend(introspection.schema.opaque.iter().cloned());
                introspection.schema
            }
            Read::Code(tables) => {
                let (written, hints) = code::lower(&tables, dialect)?;
                self.places.extend(hints.locations.clone());
                self.hints = hints;
                let mut schema = match &migrations.lock {
                    Some(lock) if lock.dialect == dialect => with_lock_spelling(&written, lock)?,
                    _ => written.clone(),
                };
                normalize_statically(dialect, &mut schema);
                self.written_to = written;
                schema
            }
        })
    }
}

/// Says where the struct stands that an engine refuses.
fn at_its_struct(error: Error, places: &BTreeMap<ObjectName, String>) -> Error {
    let Some(place) = error.table.as_ref().and_then(|table| places.get(table)) else { return error };
    let cause = error.cause.clone().unwrap_or_default();
    error.cause(format!("{cause}\nthe struct is at {place}"))
}

async fn read(context: &Context, side: &Side, migrations: &Migrations) -> Result<Read> {
    Ok(match side {
        Side::Empty => Read::Empty,
        Side::Lock => match &migrations.lock {
            Some(lock) => Read::Schema(lock.dialect, lock.schema.clone()),
            None => Read::Empty,
        },
        Side::File(path) => {
            let path = path.clone();
            let snapshot = blocking(move || read_snapshot(&path)).await?;
            Read::Schema(snapshot.dialect, snapshot.schema)
        }
        Side::Crate | Side::Artifact(_) => {
            let (context, side) = (context.clone(), side.clone());
            Read::Code(blocking(move || code::read(&context, &side)).await?)
        }
        Side::Database(url) => {
            let mut connection = Connection::open(url).await?;
            let introspection = connection.introspect(&context.scope()).await?;
            Read::Database(Box::new((connection, introspection)))
        }
    })
}

/// Work that waits for no server, beside what does.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| {
        Err(Error::new(Kind::Internal, "SD0938", "a side could not be read").cause(e).help("please report this"))
    })
}

/// A server that spells expressions where no side is one: nothing is written to it.
async fn speller(context: &Context, dialect: Dialect) -> Result<Option<Connection>> {
    match dialect {
        Dialect::Sqlite => Connection::open("sqlite::memory:").await.map(Some),
        Dialect::Postgres | Dialect::Mysql => match context.config.database_url()? {
            Some(url) => Connection::open(&url).await.map(Some),
            None => Ok(None),
        },
    }
}

/// Whether the migrations speak of views, functions and the like: they once led to a database's schema.
fn keeps_objects(migrations: &Migrations) -> bool {
    migrations.lock.as_ref().is_some_and(|lock| !lock.schema.objects.is_empty())
}

/// Whether it is the database schema of a table that structs declare, and so declared with it.
fn is_home(object: &Object, desired: &Schema) -> bool {
    let holds = |table: &ObjectName| table.schema.as_ref() == Some(&object.key.name.name);
    object.key.kind == ObjectKind::Schema && desired.tables.keys().any(holds)
}

/// What structs do not declare, as it is listed.
fn left_alone(object: &Object) -> Opaque {
    let schema = match object.key.kind {
        ObjectKind::Schema | ObjectKind::Extension => None, // in no schema
        _ => Some(object.key.name.schema.clone().unwrap_or_else(|| "public".to_owned())),
    };
    let name = ObjectName { schema, ..object.key.name.clone() };
    let key = ObjectKey { name, ..object.key.clone() };
    Opaque {
        kind: object.key.kind.as_str().to_owned(),
        name: if object.key.of.is_some() { object.key.path() } else { key.path() },
        reason: "structs do not declare it, it is kept as it is".to_owned(),
        table: object.table().cloned(),
        definition: None,
    }
}

/// Code does not mention what belongs to others: a table that neither it nor the lock file knows is left alone.
/// Any other side is whole.
fn options(from: &Side, to: &Side, migrations: &Migrations) -> DiffOptions {
    let whole = !to.is_code() || !matches!(from, Side::Database(_));
    let managed: Option<BTreeSet<ObjectName>> = (!whole).then(|| match &migrations.lock {
        Some(lock) => lock.schema.tables.keys().cloned().collect(),
        None => BTreeSet::new(),
    });
    DiffOptions { managed, ..DiffOptions::default() }
}

/// The schema without the tables that are left alone.
fn without(schema: Schema, unmanaged: &[ObjectName]) -> Schema {
    if unmanaged.is_empty() {
        return schema;
    }
    Schema { opaque: schema.opaque.clone(), ..schema.restricted_to(|name| !unmanaged.contains(name)) }
}

const fn oldest_version(dialect: Dialect) -> u32 {
    match dialect {
        Dialect::Postgres => 140_000,
        Dialect::Sqlite => 3_051_003,
        Dialect::Mysql => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: ObjectKind, name: &str) -> Object {
        let key = ObjectKey { kind, name: name.parse().unwrap(), arguments: None, of: None };
        Object::new(key, "")
    }

    #[test]
    fn what_is_left_alone_is_named_as_a_person_would() {
        for (kind, name, shown) in [
            (ObjectKind::Schema, "app", "app"),
            (ObjectKind::Extension, "citext", "citext"),
            (ObjectKind::View, "seen", "public.seen"),
            (ObjectKind::View, "app.seen", "app.seen"),
        ] {
            assert_eq!(left_alone(&object(kind, name)).name, shown);
        }
    }

    #[test]
    fn the_schema_of_a_declared_table_is_declared_with_it() {
        let mut desired = Schema::default();
        let name: ObjectName = "app.users".parse().unwrap();
        desired.tables.insert(name.clone(), schemadiff::model::Table::new(name).into());
        assert!(is_home(&object(ObjectKind::Schema, "app"), &desired));
        assert!(!is_home(&object(ObjectKind::Schema, "other"), &desired));
        assert!(!is_home(&object(ObjectKind::View, "app"), &desired));
    }
}
