//! Scratch databases next to the user's: made for a proof, dropped after it.

use schemadiff::backend::postgres::{LEDGER, LEDGER_PREFIX, Tenant};

use super::{
    connect::{self, Client, fetch, text, words},
    render::names::{SYNC_PREFIX, ident, literal},
    type_body::{COMPOSITE, RANGE},
};
use crate::{
    Error, Kind, Result, address,
    dialect::{Connection, Scratch},
};

/// What every scratch database's name begins with.
const PREFIX: &str = "schemadiff_scratch_";

/// Class of the advisory locks that say which scratch databases are in use.
const LOCK_CLASS: u32 = 0x5344;

/// Makes a scratch database.
///
/// # Errors
/// When the server refuses.
pub async fn scratch(client: &mut Client) -> Result<Scratch> {
    // The user's connection stays the user's; a second one owns the scratch database until it is removed.
    let mut owner = connect::open(&client.url).await?;
    remove_left_behind(&mut owner).await;
    let name = create(&mut owner).await?;
    match prepare(&mut owner, &name, client.tenant()).await {
        Ok(connection) => Ok(Scratch {
            url: connection.url.clone(),
            connection: Connection::Postgres(Box::new(connection)),
            owner: Some(Connection::Postgres(Box::new(owner))),
            name,
        }),
        Err(error) => {
            drop_scratch(&mut owner, &name).await?;
            Err(error)
        }
    }
}

/// Encoding and collation of the source decide how texts sort and compare: the copy must have them too.
async fn create(owner: &mut Client) -> Result<String> {
    let locale = match owner.server().version {
        170_000.. => {
            "CASE datlocprovider WHEN 'i' THEN format(' LOCALE_PROVIDER icu ICU_LOCALE %L', datlocale)
                                 WHEN 'b' THEN format(' LOCALE_PROVIDER builtin BUILTIN_LOCALE %L', datlocale)
                                 ELSE '' END"
        }
        150_000.. => {
            "CASE datlocprovider WHEN 'i' THEN format(' LOCALE_PROVIDER icu ICU_LOCALE %L', daticulocale) ELSE '' END"
        }
        _ => "''",
    };
    let sql = format!(
        "WITH new AS (SELECT '{PREFIX}' || left(replace(gen_random_uuid()::text, '-', ''), 16) AS name)
         SELECT name, pg_advisory_lock({LOCK_CLASS}, hashtext(name))::text,
                format('CREATE DATABASE %I TEMPLATE template0 ENCODING %L LC_COLLATE %L LC_CTYPE %L', name,
                       pg_encoding_to_char(encoding), datcollate, datctype) || {locale}
         FROM new, pg_database WHERE datname = current_database()"
    );
    let rows = fetch(&mut owner.connection, &sql).await.map_err(|e| connect::failed(&sql, &e))?;
    let facts = rows.first().and_then(|rows| rows.first()).and_then(|row| Some((text(row, 0)?, text(row, 2)?)));
    let Some((name, statement)) = facts.map(|(name, sql)| (name.to_owned(), sql.to_owned())) else {
        return Err(Error::new(Kind::Internal, "SD0910", "the server does not know the database it is connected to"));
    };
    fetch(&mut owner.connection, &statement).await.map_err(|e| not_created(owner, &e))?;
    Ok(name)
}

fn not_created(owner: &Client, error: &sqlx::Error) -> Error {
    let effect = format!("cannot create a scratch database next to `{}`", owner.database);
    let error_code = error.as_database_error().and_then(|e| e.code()).unwrap_or_default().into_owned();
    let said =
        Error::new(Kind::Database, if error_code == "42501" { "SD0507" } else { "SD0508" }, effect).cause(words(error));
    if error_code == "42501" {
        said.help(format!("as a superuser: ALTER ROLE {} CREATEDB", ident(&owner.user)))
            .help("or name another server for the proof")
    } else {
        said
    }
}

/// Connects to the new database and gives it what tables, triggers and expressions of the source may use and no plan makes:
/// extensions, composite and range types, collations, operators, text search configurations and functions. What cannot be copied is left out with a warning: the plan may not need it, and if it does, the proof
/// fails with the server's words.
async fn prepare(owner: &mut Client, name: &str, tenant: Option<&Tenant>) -> Result<Client> {
    const EXTENSIONS: &str = "SELECT e.extname::text, n.nspname::text FROM pg_extension e
         JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname <> 'plpgsql' ORDER BY e.oid";
    let Some(url) = address::of_database(&owner.url, name) else {
        return Err(Error::new(Kind::Usage, "SD0204", "the address of the database is no URL"));
    };
    let mut connection = connect::open(&url).await?;
    let rows = fetch(&mut owner.connection, EXTENSIONS).await.map_err(|e| connect::failed(EXTENSIONS, &e))?;
    for row in rows.iter().flatten() {
        let (Some(extension), Some(schema)) = (text(row, 0), text(row, 1)) else { continue };
        let mut statements = Vec::new();
        if schema != "pg_catalog" && schema != "public" {
            statements.push(format!("CREATE SCHEMA IF NOT EXISTS {}", ident(schema)));
        }
        let place = if schema == "pg_catalog" { String::new() } else { format!(" SCHEMA {}", ident(schema)) };
        statements.push(format!("CREATE EXTENSION IF NOT EXISTS {}{place} CASCADE", ident(extension)));
        if let Err(error) = connection.run(&statements).await {
            tracing::warn!(extension, %error, "the scratch database lacks an extension");
        }
    }
    copy_definitions(owner, &mut connection, tenant).await?;
    Ok(connection)
}

/// Types, collations, operators and functions in the order in which they were made. Bodies are not looked at: their tables come
/// later. How a text search works is of no concern to a proof.
async fn copy_definitions(owner: &mut Client, connection: &mut Client, tenant: Option<&Tenant>) -> Result<()> {
    let sql = format!(
        "WITH own AS (SELECT oid, nspname FROM pg_namespace n WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', {ledger})
             AND NOT starts_with(nspname::text, {tenants}){only}),
         of_extension AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e')
         SELECT definition, shown, nspname FROM (
           SELECT t.oid AS at, own.nspname, 'type ' || t.typname AS shown, format('CREATE TYPE %I.%I AS %s', own.nspname, t.typname,
             {COMPOSITE}) AS definition
           FROM pg_type t JOIN own ON own.oid = t.typnamespace JOIN pg_class c ON c.oid = t.typrelid AND c.relkind = 'c'
           WHERE NOT EXISTS (SELECT FROM of_extension e WHERE e.classid = 'pg_type'::regclass AND e.objid = t.oid)
           UNION ALL
           SELECT t.oid, own.nspname, 'type ' || t.typname, format('CREATE TYPE %I.%I AS %s', own.nspname, t.typname, {RANGE})
           FROM pg_range r JOIN pg_type t ON t.oid = r.rngtypid JOIN own ON own.oid = t.typnamespace
           WHERE NOT EXISTS (SELECT FROM of_extension e WHERE e.classid = 'pg_type'::regclass AND e.objid = t.oid)
           UNION ALL
           SELECT c.oid, own.nspname, 'collation ' || c.collname, format('CREATE COLLATION %I.%I (PROVIDER = %s, %s, DETERMINISTIC = %s)',
             own.nspname, c.collname, CASE c.collprovider WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END,
             CASE c.collprovider WHEN 'c' THEN format('LC_COLLATE = %L, LC_CTYPE = %L', c.collcollate, c.collctype)
               ELSE format('LOCALE = %L', coalesce(to_jsonb(c) ->> 'colllocale', to_jsonb(c) ->> 'colliculocale', c.collcollate::text)) END,
             c.collisdeterministic::text)
           FROM pg_collation c JOIN own ON own.oid = c.collnamespace
           WHERE NOT EXISTS (SELECT FROM of_extension e WHERE e.classid = 'pg_collation'::regclass AND e.objid = c.oid)
           UNION ALL
           SELECT o.oid, own.nspname, 'operator ' || o.oprname, format('CREATE OPERATOR %I.%s (FUNCTION = %s%s%s)', own.nspname, o.oprname,
             o.oprcode, CASE WHEN o.oprleft <> 0 THEN ', LEFTARG = ' || format_type(o.oprleft, NULL) END,
             CASE WHEN o.oprright <> 0 THEN ', RIGHTARG = ' || format_type(o.oprright, NULL) END)
           FROM pg_operator o JOIN own ON own.oid = o.oprnamespace
           WHERE o.oprcode <> 0 AND NOT EXISTS (SELECT FROM of_extension e WHERE e.classid = 'pg_operator'::regclass AND e.objid = o.oid)
           UNION ALL
           SELECT t.oid, own.nspname, 'text search configuration ' || t.cfgname,
             format('CREATE TEXT SEARCH CONFIGURATION %I.%I (COPY = pg_catalog.simple)', own.nspname, t.cfgname)
           FROM pg_ts_config t JOIN own ON own.oid = t.cfgnamespace
           WHERE NOT EXISTS (SELECT FROM of_extension e WHERE e.classid = 'pg_ts_config'::regclass AND e.objid = t.oid)
           UNION ALL
           SELECT p.oid, own.nspname, 'function ' || p.proname, pg_get_functiondef(p.oid)
           FROM pg_proc p JOIN own ON own.oid = p.pronamespace
           WHERE p.prokind IN ('f', 'p') AND left(p.proname, {length}) <> {prefix}
             AND NOT EXISTS (SELECT FROM of_extension e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid)
         ) d ORDER BY at",
        ledger = literal(LEDGER),
        tenants = literal(LEDGER_PREFIX),
        length = SYNC_PREFIX.len(),
        prefix = literal(SYNC_PREFIX),
        only = tenant.map(|t| format!(" AND nspname = {}", literal(t.schema()))).unwrap_or_default(),
    );
    let rows = fetch(&mut owner.connection, &sql).await.map_err(|e| connect::failed(&sql, &e))?;
    let set = |value: &str| vec![format!("SET check_function_bodies = {value}")];
    connection.run(&set("off")).await?;
    for row in rows.iter().flatten() {
        let (Some(definition), Some(shown), Some(schema)) = (text(row, 0), text(row, 1), text(row, 2)) else {
            continue;
        };
        // Plans are proven in `public`, whoever's they are.
        let (schema, definition) = match tenant {
            Some(tenant) => ("public", tenant.definition(definition)),
            None => (schema, definition.to_owned()),
        };
        let statements = [format!("CREATE SCHEMA IF NOT EXISTS {}", ident(schema)), definition];
        if let Err(error) = connection.run(&statements).await {
            // The proof makes what it needs itself, and says so when it cannot.
            tracing::debug!(object = shown, %error, "the scratch database lacks an object of the database");
        }
    }
    connection.run(&set("on")).await
}

/// Scratch databases that nobody is connected to and whose owner is gone: an earlier run ended in the middle.
async fn remove_left_behind(owner: &mut Client) {
    let sql = format!(
        "SELECT d.datname::text FROM pg_database d WHERE d.datname LIKE {} AND pg_has_role(d.datdba, 'USAGE')
         AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datid = d.oid)
         AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.classid = {LOCK_CLASS}
             AND l.objid::bigint = hashtext(d.datname::text)::bigint & 4294967295)",
        literal(&format!("{}%", PREFIX.replace('_', "\\_")))
    );
    let left_behind: Vec<String> = match fetch(&mut owner.connection, &sql).await {
        Ok(rows) => rows.iter().flatten().filter_map(|row| text(row, 0)).map(str::to_owned).collect(),
        Err(error) => {
            tracing::debug!(%error, "cannot look for scratch databases that were left behind");
            return;
        }
    };
    for name in left_behind {
        // Another run may be faster: then it is gone already.
        if let Err(error) = fetch(&mut owner.connection, &format!("DROP DATABASE IF EXISTS {}", ident(&name))).await {
            tracing::debug!(%error, name, "cannot remove a scratch database that was left behind");
        }
    }
}

/// Drops a scratch database.
///
/// # Errors
/// When the server refuses.
pub async fn drop_scratch(client: &mut Client, name: &str) -> Result<()> {
    let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", ident(name));
    fetch(&mut client.connection, &sql).await.map(drop).map_err(|e| {
        Error::new(Kind::Database, "SD0509", format!("cannot drop the scratch database `{name}`"))
            .cause(words(&e))
            .help(format!("DROP DATABASE {} by hand; the next run tries it too", ident(name)))
    })
}
