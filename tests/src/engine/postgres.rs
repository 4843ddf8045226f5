//! PostgreSQL servers.

use std::sync::{
    LazyLock, OnceLock,
    atomic::{AtomicU32, Ordering},
};

use schemadiff::model::Dialect;

use super::{Owner, TestDatabase, binaries::Binaries, server::Server};

/// Major versions of PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Major {
    /// 13: older than schemadiff supports.
    V13,
    /// 14
    V14,
    /// 15: what every test runs on.
    V15,
    /// 16
    V16,
    /// 17
    V17,
    /// 18
    V18,
}

impl Major {
    /// The number.
    pub const fn number(self) -> u32 {
        match self {
            Self::V13 => 13,
            Self::V14 => 14,
            Self::V15 => 15,
            Self::V16 => 16,
            Self::V17 => 17,
            Self::V18 => 18,
        }
    }

    /// The version under test: 15, or what `SCHEMADIFF_TEST_PG` says.
    ///
    /// # Panics
    /// When that is no version.
    pub fn under_test() -> Self {
        match std::env::var("SCHEMADIFF_TEST_PG").as_deref() {
            Err(_) | Ok("15") => Self::V15,
            Ok("14") => Self::V14,
            Ok("16") => Self::V16,
            Ok("17") => Self::V17,
            Ok("18") => Self::V18,
            Ok(other) => panic!("SCHEMADIFF_TEST_PG is {other}, it can be 14, 15, 16, 17 or 18"),
        }
    }
}

/// A running server that listens on a free port of the loopback address. User `postgres` needs no password; a member
/// of a role named `needs_password` does.
pub struct Postgres {
    server: Server,
}

impl Postgres {
    /// The server that the tests of this process share, started on first use.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Postgres> = LazyLock::new(|| Postgres::start(Major::under_test()));
        &SHARED
    }

    /// A server of one's own; it stops when this is dropped, and when the process ends in whatever way.
    pub fn start(major: Major) -> Self {
        Self::start_with(major, &[])
    }

    /// As [`Postgres::start`], with settings (`max_connections=10`).
    pub fn start_with(major: Major, settings: &[&str]) -> Self {
        Self { server: Server::start(&Binaries::find(major.number()), settings) }
    }

    /// A standby that streams from this server, of the same major version.
    pub fn standby(&self, major: Major) -> Self {
        Self { server: Server::standby_of(self.server.port, &Binaries::find(major.number())) }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// The address of one of its databases, as superuser.
    pub fn url(&self, database: &str) -> String {
        self.url_as("postgres", database)
    }

    /// The address of one of its databases for a user (`user` or `user:password`).
    pub fn url_as(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.server.port)
    }

    /// An empty database, removed when the result is dropped.
    pub fn database(&self) -> TestDatabase {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let admin_url = self.url("postgres");
        let (url, sql) = (admin_url.clone(), format!("CREATE DATABASE {name} TEMPLATE template0"));
        if let Err(why) = super::block_on(async move { super::run_on(&url, &sql).await }) {
            let log = self.server.log();
            let last: Vec<&str> = log.lines().rev().take(60).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            panic!("no database could be made: {why}\nthe server's log ends with\n{}", last.join("\n"));
        }
        TestDatabase { url: self.url(&name), dialect: Dialect::Postgres, name, owner: Owner::Postgres { admin_url } }
    }

    /// The folder with `psql` and the like, when this installation has them.
    pub fn client_programs(&self) -> Option<&std::path::Path> {
        static FOUND: OnceLock<Option<std::path::PathBuf>> = OnceLock::new();
        FOUND.get_or_init(|| Some(self.server.bin.clone()).filter(|bin| bin.join("psql").exists())).as_deref()
    }
}
