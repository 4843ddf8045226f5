//! The hook of a pool of r2d2.

use std::{future::Future, thread};

use ::diesel::{
    QueryResult, QueryableByName, RunQueryDsl,
    connection::LoadConnection,
    query_builder::SqlQuery,
    query_dsl::LoadQuery,
    r2d2::{CustomizeConnection, Error as R2d2Error, ManageConnection},
    result::{ConnectionError, DatabaseErrorKind, Error as DieselError},
    sql_types::Text,
};

use crate::{
    backend::Registered,
    error::{Error, Result},
    lockstep::{
        Lockstep, Probe, admin,
        fence::{Fence, Moment},
        guard::Me,
        hook::{ATTEMPTS, PAUSE, refused, still_behind, still_busy},
    },
    model::Dialect,
};

/// For `connection_customizer` of a pool: registers each new connection as one of its version in one round trip, and refuses it
/// when the version is retired. Made by [`Lockstep::customizer`].
#[derive(Debug, Clone)]
pub struct Customizer {
    me: Me,
    dialect: Dialect,
    /// Whether the pool's connections have sessions of their own.
    direct: bool,
    probe: Probe,
    fence: Fence,
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
    let (_, url, _) = lockstep.carries();
    let (dialect, pool_url) = (admin::dialect_of(url), pool_url.to_owned());
    let (me, probe, fence) = (lockstep.me(), lockstep.probe(), lockstep.its_fence());
    async move {
        let dialect = dialect?;
        let direct = match dialect {
            #[cfg(feature = "postgres")]
            Dialect::Postgres => crate::backend::postgres::is_direct(&pool_url).await?,
            _ => true,
        };
        drop(pool_url);
        Ok(Customizer { me, dialect, direct, probe, fence })
    }
}

impl Customizer {
    /// A manager for the pool that hands no connection out when this process was stopped or cut off for so long that its
    /// version was retired meanwhile, see [`Lockstep::fence`]. It asks when the pool asks whether a connection is valid, so leave
    /// `test_on_check_out` as it is.
    pub fn guarding<M>(&self, manager: M) -> Guarding<M> {
        Guarding { manager, customizer: self.clone() }
    }

    /// Whether a connection that is open already may still be used.
    fn still<C>(&self, connection: &mut C) -> std::result::Result<(), R2d2Error>
    where
        C: LoadConnection + 'static,
        for<'query> SqlQuery: LoadQuery<'query, C, Answer>,
    {
        if self.fence.holds() {
            return Ok(());
        }
        #[cfg(feature = "postgres")]
        if self.dialect == Dialect::Postgres {
            let sent = Moment::now();
            let sql = crate::backend::postgres::diesel::sign_of_life_sql(self.me.who(), &self.me.instance);
            // What cannot be written, because the lease has ended or on a standby, is asked for below.
            if connection.batch_execute(&sql).is_ok() {
                self.fence.heard(sent);
                return Ok(());
            }
        }
        self.on_acquire(connection)
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
                let mut ask = |writes| {
                    let asked = connection.batch_execute(&enter_sql(self.me.who(), self.direct, writes));
                    match asked {
                        Ok(()) => Ok(Registered::Yes),
                        Err(DieselError::DatabaseError(kind, said)) => match refusal(said.message()) {
                            Some(answer) => answer.map_err(|e| DieselError::DeserializationError(e.message.into())),
                            None => Err(DieselError::DatabaseError(kind, said)),
                        },
                        Err(other) => Err(other),
                    }
                };
                // The code that tells a standby is not to be had from Diesel. Where it is another error, it comes again.
                match ask(true) {
                    Err(DieselError::DatabaseError(..)) => ask(false),
                    answer => answer,
                }
            }
            #[cfg(any(feature = "sqlite", feature = "sqlite-unbundled"))]
            Dialect::Sqlite => {
                let asked = ::diesel::sql_query(crate::backend::sqlite::diesel::enter_sql(self.me.who()));
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
            let asked = self.ask(connection).inspect_err(|error| {
                // Diesel says of what kind an error is for few; these come again for every connection.
                if matches!(error, DieselError::DatabaseError(kind, _) if !matches!(kind, DatabaseErrorKind::ClosedConnection)) {
                    self.probe.connected(Some(format!("a connection of the pool cannot be registered: {error}")));
                }
            });
            match asked.map_err(R2d2Error::QueryError)? {
                Registered::Yes => {
                    self.probe.connected(None);
                    return Ok(());
                }
                Registered::Busy | Registered::Changed => last = still_busy(),
                Registered::Behind => last = still_behind(self.me.who().app),
                Registered::OnStandby => return Err(no(Error::OnStandby { app: self.me.who().app.to_owned() })),
                Registered::Retired(retired) => return Err(no(refused(&retired, &self.probe))),
            }
            thread::sleep(PAUSE);
        }
        Err(no(last))
    }
}

/// A manager of connections that asks whether they may still be used. Made by [`Customizer::guarding`].
#[derive(Debug, Clone)]
pub struct Guarding<M> {
    manager: M,
    customizer: Customizer,
}

impl<M> ManageConnection for Guarding<M>
where
    M: ManageConnection<Error = R2d2Error>,
    M::Connection: LoadConnection + 'static,
    for<'query> SqlQuery: LoadQuery<'query, M::Connection, Answer>,
{
    type Connection = M::Connection;
    type Error = R2d2Error;

    fn connect(&self) -> std::result::Result<M::Connection, R2d2Error> {
        self.manager.connect()
    }

    fn is_valid(&self, connection: &mut M::Connection) -> std::result::Result<(), R2d2Error> {
        self.manager.is_valid(connection)?;
        self.customizer.still(connection)
    }

    fn has_broken(&self, connection: &mut M::Connection) -> bool {
        self.manager.has_broken(connection)
    }
}
