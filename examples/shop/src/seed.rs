//! Customers and stock to begin with, the same for all versions.

use crate::{ARTICLES, Database, ON_HAND, Result};

/// Fills the tables; each statement is one round trip however many rows it makes. Both are a version's own, and take `n` from a
/// table of numbers called `s`: `customers_insert` makes a customer of each, `stock_insert` an article with `$2` on the shelf.
///
/// # Errors
/// When the database refuses.
pub async fn seed(
    database: &Database,
    customers: u64,
    customers_insert: &'static str,
    stock_insert: &'static str,
) -> Result<()> {
    let numbers = match database {
        Database::Postgres(_) => "WITH s (n) AS (SELECT generate_series(1, $1))",
        Database::Sqlite(_) => "WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < $1)",
    };
    // Both texts are constants of this program.
    let customers_sql = sqlx::AssertSqlSafe(format!("{numbers} {customers_insert}"));
    let stock_sql = sqlx::AssertSqlSafe(format!("{numbers} {stock_insert}"));
    let (customers, articles) = (i64::try_from(customers)?, i64::try_from(ARTICLES)?);
    crate::on!(database, pool => {
        sqlx::query(customers_sql).bind(customers).execute(pool).await?;
        sqlx::query(stock_sql).bind(articles).bind(ON_HAND).execute(pool).await?;
    });
    if let Database::Postgres(pool) = database {
        sqlx::query("ANALYZE").execute(pool).await?;
    }
    Ok(())
}
