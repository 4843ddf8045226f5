//! One schema for each tenant: a schema of a database that is treated as a database of its own.
//!
//! Migrations are written and proven for `public`. For a tenant they are carried out in the tenant's schema instead, and everything
//! that belongs to a database is the tenant's: ledger, lock, gate and leases.

use std::{collections::BTreeSet, sync::Arc};

use percent_encoding::percent_decode_str;
use sha2::{Digest as _, Sha256};

use super::rewrite::{Paths, Words, quoted, rewrite};
use crate::{
    error::{Error, Result},
    model::hex,
    plan::{Action, Plan, Step},
};

/// The parameter of an address that names the schema.
pub const PARAMETER: &str = "schema";
/// The schema that migrations are written for.
pub(super) const HOME: &str = "public";
/// The schema of a database's own ledger.
pub const LEDGER: &str = "schemadiff";
/// What the ledgers of tenants begin with; the tenant's schema follows. Introspection leaves them out.
pub const LEDGER_PREFIX: &str = "schemadiff ";
/// What contract phases set tables aside in; a time follows.
const KEPT_PREFIX: &str = "schemadiff_kept_";
/// The longest name of a schema whose ledger can have a name, in bytes.
const LONGEST: usize = 63 - LEDGER_PREFIX.len();

/// A tenant's schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    schema: String,
    /// What extensions have in `public`: it is there for all tenants.
    shared: Option<Arc<BTreeSet<String>>>,
    /// What the schema has, by bare names.
    own: Option<Arc<BTreeSet<String>>>,
}

impl Tenant {
    /// The address of the database, and the tenant that it names with `schema=`.
    ///
    /// # Errors
    /// For a name that no tenant's schema can have.
    pub fn of_address(address: &str) -> Result<(String, Option<Self>)> {
        let Some((bare, query)) = address.split_once('?') else { return Ok((address.to_owned(), None)) };
        let named = |pair: &&str| pair.split_once('=').is_some_and(|(key, _)| key == PARAMETER);
        let (schemas, rest): (Vec<&str>, Vec<&str>) = query.split('&').partition(named);
        let Some((_, schema)) = schemas.last().and_then(|pair| pair.split_once('=')) else {
            return Ok((address.to_owned(), None));
        };
        // As the driver reads the other parameters: a plus is a space.
        let spaced = schema.replace('+', " ");
        let schema =
            percent_decode_str(&spaced).decode_utf8().map_err(|_| wrong(schema, "it is no text"))?.into_owned();
        let rest = if rest.is_empty() { bare.to_owned() } else { format!("{bare}?{}", rest.join("&")) };
        Ok((rest, Self::named(schema)?))
    }

    /// The tenant of that schema; none for `public`, which is the database's own.
    fn named(schema: String) -> Result<Option<Self>> {
        if schema == HOME {
            return Ok(None);
        }
        let no = |why: &str| Err(wrong(&schema, why));
        if schema.is_empty() {
            return no("it is empty");
        }
        if schema.len() > LONGEST {
            return no("it is longer than 52 bytes, and the schema of its ledger has a longer name");
        }
        // Each would end a name or a text somewhere in a statement.
        if schema.contains(['\'', '"', '\\', '$', '\0']) {
            return no("it holds a quote, a backslash or a dollar");
        }
        if schema.starts_with("pg_") || schema.starts_with(LEDGER) || schema == "information_schema" {
            return no("it is the server's, or one of schemadiff's own");
        }
        Ok(Some(Self { schema, shared: None, own: None }))
    }

    /// A query for what has to be known of the schema: whether it is there; what extensions have in `public`, and what the
    /// schema has, as JSON.
    pub fn facts(&self) -> String {
        let members = |schema: &str, extension: &str| {
            let of = |catalogue: &str, name: &str, namespace: &str| {
                format!(
                    "SELECT CAST(x.{name} AS text) FROM pg_catalog.{catalogue} x JOIN pg_catalog.pg_namespace n \
                     ON n.oid = x.{namespace} WHERE n.nspname = '{schema}' AND {extension} (SELECT FROM pg_catalog.pg_depend d \
                     WHERE d.classid = CAST('pg_catalog.{catalogue}' AS regclass) AND d.objid = x.oid AND d.deptype = 'e')"
                )
            };
            let all = [
                of("pg_class", "relname", "relnamespace"),
                of("pg_type", "typname", "typnamespace"),
                of("pg_proc", "proname", "pronamespace"),
                of("pg_collation", "collname", "collnamespace"),
                of("pg_opclass", "opcname", "opcnamespace"),
                of("pg_statistic_ext", "stxname", "stxnamespace"),
                of("pg_ts_config", "cfgname", "cfgnamespace"),
                of("pg_ts_dict", "dictname", "dictnamespace"),
            ];
            format!("(SELECT CAST(coalesce(json_agg(name), '[]') AS text) FROM ({}) names (name))", all.join(" UNION "))
        };
        format!(
            "SELECT CAST(pg_catalog.to_regnamespace('{}') IS NOT NULL AS text), {}, {}",
            quoted(&self.schema),
            members(HOME, "EXISTS"),
            members(&self.schema, "NOT EXISTS"),
        )
    }

    /// With what [`Tenant::facts`] has found.
    ///
    /// # Errors
    /// When the schema is not there.
    pub fn knowing(self, [is_there, shared, own]: [&str; 3]) -> Result<Self> {
        if is_there != "true" {
            return Err(Error::NoTenant { schema: self.schema });
        }
        let names = |text: &str| Arc::new(serde_json::from_str(text).unwrap_or_default());
        Ok(Self { shared: Some(names(shared)), own: Some(names(own)), ..self })
    }

    /// The schema's name.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The schema that its ledger is in.
    pub fn ledger(&self) -> String {
        format!("{LEDGER_PREFIX}{}", self.schema)
    }

    /// A key of the tenant's own in place of one of the database's.
    pub(super) fn key(&self, of_database: i64) -> i64 {
        let hash = Sha256::digest(&self.schema);
        hash.iter().take(8).fold(of_database, |key, byte| key.rotate_left(8) ^ i64::from(*byte))
    }

    /// A statement about the ledger of the database, about the tenant's instead.
    pub(super) fn of_ledger(&self, sql: &str) -> String {
        of_ledger_in(&self.ledger(), sql)
    }

    /// A statement of a plan, which is about `public`, about the tenant's schema instead.
    pub fn statement(&self, sql: &str) -> String {
        let to = quoted(&self.schema);
        let sql = rewrite(
            sql,
            &Words {
                from: HOME,
                to: &to,
                settings: false,
                in_texts: true,
                paths: Paths::Widened,
                left: self.shared.as_deref(),
                only: None,
            },
        );
        self.set_aside(&sql)
    }

    /// What the server says of an object in the tenant's schema, as it says it of one in `public`.
    pub fn definition(&self, sql: &str) -> String {
        rewrite(
            sql,
            &Words {
                from: &self.schema,
                to: HOME,
                settings: false,
                in_texts: true,
                paths: Paths::Narrowed,
                left: None,
                only: self.own.as_deref(),
            },
        )
    }

    /// Tenants set aside in schemas of their own what one migration drops for all of them.
    fn set_aside(&self, sql: &str) -> String {
        let hash = hex(&Sha256::digest(&self.schema)[..4]);
        let (mut out, mut rest) = (String::with_capacity(sql.len()), sql);
        while let Some(at) = rest.find(KEPT_PREFIX) {
            let behind = &rest[at + KEPT_PREFIX.len()..];
            let digits = behind.find(|c: char| !c.is_ascii_digit()).unwrap_or(behind.len());
            let end = at + KEPT_PREFIX.len() + digits;
            out.push_str(&rest[..end]);
            // Columns are set aside in their own table, under names that begin with an underscore.
            if !rest[..at].ends_with('_') && digits > 0 {
                out.push_str(&format!("_t{hash}"));
            }
            rest = &rest[end..];
        }
        out.push_str(rest);
        out
    }

    /// The plan with every statement about the tenant's schema. Its effects, names and checksum stay as they were reviewed.
    pub(super) fn plan(&self, mut plan: Plan) -> Plan {
        for step in &mut plan.steps {
            self.step(step);
        }
        plan
    }

    fn step(&self, step: &mut Step) {
        let own = |sql: &mut String| *sql = self.statement(sql);
        step.undo.iter_mut().chain(&mut step.undo_proof).for_each(own);
        [&mut step.done_when, &mut step.clean_up, &mut step.stopped_by].into_iter().flatten().for_each(own);
        let probes = step.probes.iter_mut().chain(&mut step.only_while_small).chain(&mut step.undo_probes);
        probes.map(|probe| &mut probe.sql).for_each(own);
        step.undo_loses.iter_mut().map(|loss| &mut loss.sql).for_each(own);
        step.keeps.iter_mut().flat_map(|kept| &mut kept.purge).for_each(own);
        match &mut step.action {
            Action::Sql(statements) => statements.iter_mut().for_each(own),
            Action::Generated(generated) => own(&mut generated.next_sql),
            Action::Backfill(fill) => {
                let always = [
                    &mut fill.pending,
                    &mut fill.upper_sql,
                    &mut fill.batch_sql,
                    &mut fill.update_sql,
                    &mut fill.remaining_sql,
                    &mut fill.left_sql,
                ];
                always.into_iter().for_each(own);
                fill.skip_locked_sql.iter_mut().chain(&mut fill.evaluate_sql).for_each(own);
                fill.comparison.iter_mut().map(|comparison| &mut comparison.sql).for_each(own);
                fill.given.iter_mut().map(|given| &mut given.read_sql).for_each(own);
            }
        }
    }
}

/// A statement about the ledger of the database, about that in another schema instead.
pub(super) fn of_ledger_in(ledger: &str, sql: &str) -> String {
    let to = quoted(ledger);
    rewrite(
        sql,
        &Words { from: LEDGER, to: &to, settings: true, in_texts: false, paths: Paths::Left, left: None, only: None },
    )
    // Versions have locks of their own in each ledger.
    .replace("'schemadiff ' ||", &format!("'{ledger} ' ||"))
}

fn wrong(schema: &str, why: &str) -> Error {
    Error::TenantSchema { schema: schema.to_owned(), problem: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(address: &str) -> Option<Tenant> {
        Tenant::of_address(address).ok().and_then(|(_, tenant)| tenant)
    }

    #[test]
    fn an_address_names_a_schema() {
        for (address, rest, schema) in [
            ("postgres://h/a", "postgres://h/a", None),
            ("postgres://h/a?schema=public", "postgres://h/a", None),
            ("postgres://h/a?schema=t1", "postgres://h/a", Some("t1")),
            ("postgres://h/a?sslmode=require&schema=t1&user=x", "postgres://h/a?sslmode=require&user=x", Some("t1")),
            ("postgres://h/a?schema=Old%20%C3%BC", "postgres://h/a", Some("Old ü")),
        ] {
            let found = Tenant::of_address(address).ok();
            let found = found.as_ref().map(|(rest, tenant)| (rest.as_str(), tenant.as_ref().map(Tenant::schema)));
            assert_eq!(found, Some((rest, schema)), "{address}");
        }
        for wrong in ["", "%FF", "pg_toast", "schemadiff", "schemadiff%20t", "a'b", "a%22b", &"x".repeat(53)] {
            assert!(Tenant::of_address(&format!("postgres://h/a?schema={wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn statements_are_about_the_schema_of_the_tenant() {
        let Some(tenant) = tenant("postgres://h/a?schema=T 1") else { panic!("no tenant") };
        for (given, wanted) in [
            (
                r#"ALTER TABLE "public"."t" ADD COLUMN "public" text DEFAULT 'public'"#,
                r#"ALTER TABLE "T 1"."t" ADD COLUMN "public" text DEFAULT 'public'"#,
            ),
            (
                r#"SELECT pg_catalog.to_regclass('"public"."t"'), r.public.x, 'public.t'"#,
                r#"SELECT pg_catalog.to_regclass('"T 1"."t"'), r.public.x, 'public.t'"#,
            ),
            ("SELECT nextval('public.t_id_seq'::regclass)", r#"SELECT nextval('"T 1".t_id_seq'::regclass)"#),
            (
                "CREATE VIEW v AS SELECT Public.f(t.a) FROM public.t -- public.t",
                r#"CREATE VIEW v AS SELECT "T 1".f(t.a) FROM "T 1".t -- public.t"#,
            ),
            (
                "AS $f$ BEGIN INSERT INTO public.t VALUES ('public.'); END $f$",
                r#"AS $f$ BEGIN INSERT INTO "T 1".t VALUES ('public.'); END $f$"#,
            ),
            (
                "SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC'",
                r#"SET search_path = pg_catalog, "T 1", public, pg_temp SET timezone = 'UTC'"#,
            ),
            (
                r#"SELECT "_schemadiff_kept_20260102030405_a" FROM republic.t"#,
                r#"SELECT "_schemadiff_kept_20260102030405_a" FROM republic.t"#,
            ),
            (
                "f() SET search_path TO 'public', 'pg_temp' AS $f$ x $f$",
                "f() SET search_path TO 'T 1', 'public', 'pg_temp' AS $f$ x $f$",
            ),
            (
                r#"/* a /* b */ don't */ SELECT 1 FROM public.t; COMMENT ON TABLE "public"."t" IS 'see "public"."u"'"#,
                r#"/* a /* b */ don't */ SELECT 1 FROM "T 1".t; COMMENT ON TABLE "T 1"."t" IS 'see "public"."u"'"#,
            ),
            (r#"SELECT E'\'public"public".' FROM public.t"#, r#"SELECT E'\'public"T 1".' FROM "T 1".t"#),
        ] {
            assert_eq!(tenant.statement(given), wanted);
        }
        let hash = hex(&Sha256::digest("T 1")[..4]);
        assert_eq!(
            tenant.statement(r#"ALTER TABLE "schemadiff_kept_20260102030405"."t" SET SCHEMA "public""#),
            format!(r#"ALTER TABLE "schemadiff_kept_20260102030405_t{hash}"."t" SET SCHEMA "T 1""#)
        );
        for (given, wanted) in [
            (r#"SELECT a FROM "T 1".t, public.u"#, "SELECT a FROM public.t, public.u"),
            (r#"f() SET search_path TO 'T 1', 'public' AS $f$ x $f$"#, "f() SET search_path TO 'public' AS $f$ x $f$"),
        ] {
            assert_eq!(tenant.definition(given), wanted);
        }
        let known = tenant.clone().knowing(["true", r#"["citext"]"#, r#"["t"]"#]).ok();
        let Some(known) = known else { panic!("it is there") };
        assert_eq!(known.statement("SELECT a::public.citext FROM public.t"), r#"SELECT a::public.citext FROM "T 1".t"#);
        assert_eq!(
            known.definition(r#"SELECT "T 1".a FROM "T 1".t AS "T 1""#),
            r#"SELECT "T 1".a FROM public.t AS "T 1""#
        );
        assert!(tenant.knowing(["false", "[]", "[]"]).is_err());
    }

    #[test]
    fn the_ledger_is_the_own_one_of_the_tenant() {
        let Some(tenant) = tenant("postgres://h/a?schema=t1") else { panic!("no tenant") };
        let sql = "SET LOCAL schemadiff.filling = 'schemadiff.x'; SELECT schemadiff.enter(a) FROM schemadiff.lease l \
            WHERE current_setting('schemadiff.gate') = 'true' AND 'schemadiff ' || x <> ''";
        let own = "SET LOCAL schemadiff.filling = 'schemadiff.x'; SELECT \"schemadiff t1\".enter(a) FROM \"schemadiff t1\".lease l \
            WHERE current_setting('schemadiff.gate') = 'true' AND 'schemadiff t1 ' || x <> ''";
        assert_eq!(tenant.of_ledger(sql), own);
        assert_ne!(tenant.key(1), 1);
        assert_ne!(tenant.key(1), tenant.key(2));
    }
}
