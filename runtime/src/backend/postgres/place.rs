//! Where a connection goes to: a database, or the schema of a tenant in it.

use std::borrow::Cow;

use sqlx::postgres::PgConnectOptions;

use super::tenant::{HOME, LEDGER, Tenant, of_ledger_in};
use crate::{model::ObjectName, plan::Plan};

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
