//! Where a connection goes to: a database, or the schema of a tenant in it.

use std::borrow::Cow;

use sqlx::{AssertSqlSafe, PgConnection, Row as _, postgres::PgConnectOptions};

use super::tenant::{HOME, LEDGER, Tenant, of_ledger_in};
use crate::{
    error::{Error, Result},
    model::{Delta, ObjectKind, ObjectName},
    plan::{Overlap, Plan},
};

/// Where to connect to.
#[derive(Debug, Clone)]
pub struct Place {
    pub(super) options: PgConnectOptions,
    /// The schema that is treated as a database of its own.
    pub(super) tenant: Option<Tenant>,
}

impl Place {
    /// The schema that a name without one is in.
    pub(super) fn schema_of<'n>(&'n self, name: &'n ObjectName) -> &'n str {
        let home = self.tenant.as_ref().map_or(HOME, Tenant::schema);
        name.schema.as_deref().unwrap_or(home)
    }

    /// A statement about the ledger, as it is sent.
    pub(super) fn of_ledger<'s>(&self, sql: &'s str) -> Cow<'s, str> {
        match &self.tenant {
            Some(tenant) if sql.contains(LEDGER) => Cow::Owned(tenant.of_ledger(sql)),
            _ => Cow::Borrowed(sql),
        }
    }

    /// A plan with its statements as they are sent.
    pub(super) fn plan(&self, plan: Plan) -> Plan {
        match &self.tenant {
            Some(tenant) => tenant.plan(plan),
            None => plan,
        }
    }

    /// The schema of the ledger.
    pub(super) fn ledger(&self) -> String {
        self.tenant.as_ref().map_or_else(|| LEDGER.to_owned(), Tenant::ledger)
    }

    /// An advisory key of the database, or the tenant's own in its place.
    pub(super) fn key(&self, of_database: i64) -> i64 {
        self.tenant.as_ref().map_or(of_database, |tenant| tenant.key(of_database))
    }
}

/// What a connection of an application's says of a ledger, whose schema is named where it is a tenant's.
pub(super) fn in_ledger(sql: String, ledger: Option<&str>) -> String {
    match ledger {
        Some(ledger) => of_ledger_in(ledger, &sql),
        None => sql,
    }
}

/// The place with what has to be known of a tenant's schema; asked once for each connection.
pub(super) async fn known(connection: &mut PgConnection, place: &Place) -> Result<Place> {
    let Some(tenant) = place.tenant.clone() else { return Ok(place.clone()) };
    let facts = sqlx::raw_sql(AssertSqlSafe(tenant.facts())).fetch_one(connection).await;
    let failed = |e: &sqlx::Error| Error::Database {
        doing: "look at the schema of the tenant".to_owned(),
        code: String::new(),
        cause: e.to_string(),
    };
    let row = facts.map_err(|e| failed(&e))?;
    let text =
        |at: usize| row.try_get_raw(at).ok().and_then(|v| v.as_str().ok().map(str::to_owned)).unwrap_or_default();
    let tenant = tenant.knowing([&text(0), &text(1), &text(2)])?;
    Ok(Place { tenant: Some(tenant), ..place.clone() })
}

/// What a plan is about that is in no tenant's schema.
pub(super) fn shared_by(plan: &Plan) -> Option<String> {
    if plan.strategy.as_ref().is_some_and(|strategy| strategy.way == Overlap::Views) {
        return Some("compatibility views".to_owned());
    }
    let elsewhere = |name: &ObjectName| name.schema.is_some();
    let locked = plan.steps.iter().flat_map(|step| &step.locks).map(|lock| &lock.relation);
    let touched = plan.steps.iter().flat_map(|step| &step.effects).filter_map(|delta| match delta {
        Delta::Enum { name, .. } | Delta::Domain { name, .. } | Delta::CompatView { name, .. } => Some(name),
        Delta::Object { key, .. } => Some(&key.name),
        other => other.table(),
    });
    let named = locked.chain(touched).find(|name| elsewhere(name)).map(|name| format!("`{name}`"));
    let whole = |kind| matches!(kind, ObjectKind::Extension | ObjectKind::Schema);
    let mut effects = plan.steps.iter().flat_map(|step| &step.effects);
    named.or_else(|| {
        effects.find_map(|delta| match delta {
            Delta::Object { key, .. } if whole(key.kind) => Some(key.to_string()),
            _ => None,
        })
    })
}
