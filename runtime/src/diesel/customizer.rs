//! The hook of a pool of r2d2.

use std::{future::Future, thread};

use ::diesel::{
    QueryResult, QueryableByName, RunQueryDsl,
    connection::LoadConnection,
    query_builder::SqlQuery,
    query_dsl::LoadQuery,
    r2d2::{CustomizeConnection, Error as R2d2Error},
    result::{ConnectionError, Error as DieselError},
    sql_types::Text,
};

use crate::{
    backend::{Entering, Registered},
    error::{Error, Result},
    lockstep::{
        Lockstep, Probe, admin,
        hook::{ATTEMPTS, PAUSE, refused, still_behind, still_busy},
    },
    model::Dialect,
};

/// For `connection_customizer` of a pool: registers each new connection as one of its version in one round trip, and refuses it
/// when the version is retired. Made by [`Lockstep::customizer`].
#[derive(Debug, Clone)]
pub struct Customizer {
    app: String,
    version: String,
    /// The instance, where it has said that it uses standbys.
    on_standbys: Option<String>,
    dialect: Dialect,
    /// Whether the pool's connections have sessions of their own.
    direct: bool,
    probe: Probe,
}

/// A row of the answer.
#[derive(Debug, QueryableByName)]
pub struct Answer {
    #[diesel(sql_type = Text)]
    answer: String,
}

impl Lockstep {
    /// For a pool of r2d2 whose connections go to `pool_url`: its `connection_customizer`.
    ///
    /// Whether they have sessions of their own on the server or share a pooler's cannot be seen on a connection of Diesel's, so
    /// the server at that address is asked once, here.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn customizer(&self, pool_url: &str) -> Result<Customizer> {
        find_out(self, pool_url).await
    }
}

pub(super) fn find_out(
    lockstep: &Lockstep,
    pool_url: &str,
) -> impl Future<Output = Result<Customizer>> + Send + 'static {
    let (app, url, _) = lockstep.carries();
    let (dialect, pool_url) = (admin::dialect_of(url), pool_url.to_owned());
    let (app, version, probe) = (app.to_owned(), lockstep.version().to_owned(), lockstep.probe());
    let on_standbys = lockstep.on_standbys().map(ToOwned::to_owned);
    async move {
        let dialect = dialect?;
        let direct = match dialect {
            #[cfg(feature = "postgres")]
            Dialect::Postgres => crate::backend::postgres::is_direct(&pool_url).await?,
            _ => true,
        };
        drop(pool_url);
        Ok(Customizer { app, version, on_standbys, dialect, direct, probe })
    }
}

impl Customizer {
    #[cfg(feature = "postgres")]
    fn who(&self) -> Entering<'_> {
        Entering { app: &self.app, version: &self.version, on_standbys: self.on_standbys.as_deref() }
    }

    fn ask<C>(&self, connection: &mut C) -> QueryResult<Registered>
    where
        C: LoadConnection,
        for<'query> SqlQuery: LoadQuery<'query, C, Answer>,
    {
        match self.dialect {
            #[cfg(feature = "postgres")]
            Dialect::Postgres => {
                use crate::backend::postgres::diesel::{enter_sql, refusal};
                let asked = connection.batch_execute(&enter_sql(self.who(), self.direct));
                match asked {
                    Ok(()) => Ok(Registered::Yes),
                    Err(DieselError::DatabaseError(kind, said)) => match refusal(said.message()) {
                        Some(answer) => answer.map_err(|e| DieselError::DeserializationError(e.message.into())),
                        None => Err(DieselError::DatabaseError(kind, said)),
                    },
                    Err(other) => Err(other),
                }
            }
            #[cfg(any(feature = "sqlite", feature = "sqlite-unbundled"))]
            Dialect::Sqlite => {
                let asked = ::diesel::sql_query(crate::backend::sqlite::diesel::enter_sql(&self.app, &self.version));
                let answers: Vec<Answer> = asked.load(connection)?;
                let Some(Answer { answer }) = answers.into_iter().next() else { return Ok(Registered::Yes) };
                let retired = serde_json::from_str(&answer);
                retired.map(Registered::Retired).map_err(|e| DieselError::DeserializationError(e.into()))
            }
            #[allow(unreachable_patterns)]
            dialect => Err(DieselError::QueryBuilderError(Error::EngineMissing { dialect }.into())),
        }
    }
}

impl<C> CustomizeConnection<C, R2d2Error> for Customizer
where
    C: LoadConnection + 'static,
    for<'query> SqlQuery: LoadQuery<'query, C, Answer>,
{
    fn on_acquire(&self, connection: &mut C) -> std::result::Result<(), R2d2Error> {
        let no = |error: Error| R2d2Error::ConnectionError(ConnectionError::BadConnection(error.to_string()));
        let mut last = still_busy();
        for _ in 0..ATTEMPTS {
            match self.ask(connection).map_err(R2d2Error::QueryError)? {
                Registered::Yes => return Ok(()),
                Registered::Busy | Registered::Changed => last = still_busy(),
                Registered::Behind => last = still_behind(&self.app),
                Registered::OnStandby => return Err(no(Error::OnStandby { app: self.app.clone() })),
                Registered::Retired(retired) => return Err(no(refused(&retired, &self.probe))),
            }
            thread::sleep(PAUSE);
        }
        Err(no(last))
    }
}
