//! Customers and stock to begin with, the same for both versions.

use crate::{ARTICLES, Database, ON_HAND, Result};

/// Fills the tables; each statement is one round trip however many rows it makes. `insert` is a version's own: it takes
/// `n` from a table of numbers called `s`.
///
/// # Errors
/// When the database refuses.
pub async fn seed(database: &Database, customers: u64, insert: &'static str) -> Result<()> {
    let numbers = match database {
        Database::Postgres(_) => "WITH s (n) AS (SELECT generate_series(1, $1))",
        Database::Sqlite(_) => "WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < $1)",
    };
    let stock = "INSERT INTO stock (sku, on_hand) SELECT 'article-' || (n - 1), $2 FROM s";
    // Both texts are constants of this program.
    let customers_sql = sqlx::AssertSqlSafe(format!("{numbers} {insert}"));
    let stock_sql = sqlx::AssertSqlSafe(format!("{numbers} {stock}"));
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
