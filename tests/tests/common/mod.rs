//! What the scenario tests share.

/// Two tables with a foreign key: the state that most scenarios start from.
pub const USERS: &str = "CREATE TABLE orgs ({id}, name text NOT NULL); \
     CREATE TABLE users ({id}, org_id bigint NOT NULL REFERENCES orgs (id), email text NOT NULL, age integer)";

/// The same with more columns in `users`.
#[allow(dead_code)]
pub fn users(more: &str) -> String {
    USERS.replace("age integer", &format!("age integer, {more}"))
}

/// One test per engine for each case.
#[allow(unused_macros)]
macro_rules! both_engines {
    ($($name:ident => $case:expr),+ $(,)?) => {
        mod postgres {
            use super::*;
            $(
                #[tokio::test]
                async fn $name() {
                    common::print(stringify!($name), &$case.run(schemadiff::model::Dialect::Postgres).await);
                }
            )+
        }
        mod sqlite {
            use super::*;
            $(
                #[tokio::test]
                async fn $name() {
                    common::print(stringify!($name), &$case.run(schemadiff::model::Dialect::Sqlite).await);
                }
            )+
        }
    };
}

/// One test on PostgreSQL for each case.
#[allow(unused_macros)]
macro_rules! on_postgres {
    ($($name:ident => $case:expr),+ $(,)?) => {
        mod postgres_only {
            use super::*;
            $(
                #[tokio::test]
                async fn $name() {
                    common::print(stringify!($name), &$case.run(schemadiff::model::Dialect::Postgres).await);
                }
            )+
        }
    };
}

/// The figures of a run.
pub fn print(name: &str, report: &schemadiff_tests::twin::Report) {
    println!(
        "{name}: {} statements of the old and {} of the new version, {} failed, {} rows compared, \
         longest stall {:.1} times the idle one",
        report.statements[0],
        report.statements[1],
        report.failures.len(),
        report.rows_verified,
        report.stall_ratio(),
    );
}
