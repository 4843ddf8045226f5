//! The statements of version 3: explicit column lists, never `SELECT *`.

use shop::{Database, Held, Load, NewOrder, Result, Stats, on};

use crate::models::{Customer, Order, Stock};

/// The shop's tables behind a pool.
pub struct Store {
    pub database: Database,
}

impl Load for Store {
    async fn sign_up(&self, stats: &Stats, email: &str, name: &str) -> Result<i64> {
        let sql = "INSERT INTO customers (email, display_name, email_key) VALUES ($1, $2, $3) RETURNING id";
        let key = email.to_lowercase();
        on!(&self.database, pool => {
            let query = sqlx::query_scalar(sql).bind(email).bind(name).bind(&key);
            Ok(stats.statement(query.fetch_one(pool)).await?)
        })
    }

    async fn change_name(&self, stats: &Stats, customer: i64, name: &str) -> Result<()> {
        let sql = "UPDATE customers SET display_name = $1 WHERE id = $2";
        on!(&self.database, pool => {
            stats.statement(sqlx::query(sql).bind(name).bind(customer).execute(pool)).await?;
        });
        Ok(())
    }

    async fn name_of(&self, stats: &Stats, customer: i64) -> Result<Option<String>> {
        let sql = "SELECT id, email, display_name, email_key FROM customers WHERE id = $1";
        on!(&self.database, pool => {
            let query = sqlx::query_as::<_, Customer>(sql).bind(customer);
            Ok(stats.statement(query.fetch_optional(pool)).await?.map(|c| c.display_name))
        })
    }

    async fn order(&self, stats: &Stats, order: &NewOrder<'_>) -> Result<bool> {
        let find = "SELECT id, sku, available FROM stock WHERE sku = $1";
        let take = "UPDATE stock SET available = available - $1 WHERE id = $2 AND available >= $1";
        let place =
            "INSERT INTO orders (reference, customer_id, stock_id, quantity, remark) VALUES ($1, $2, $3, $4, $5)";
        on!(&self.database, pool => {
            let mut tx = stats.statement(pool.begin_with(self.database.begin_write())).await?;
            let query = sqlx::query_as::<_, Stock>(find).bind(order.sku);
            let Some(stock) = stats.statement(query.fetch_optional(&mut *tx)).await? else {
                return Ok(false);
            };
            let query = sqlx::query(take).bind(order.quantity).bind(stock.id);
            if stats.statement(query.execute(&mut *tx)).await?.rows_affected() == 0 {
                return Ok(false);
            }
            let query = sqlx::query(place).bind(order.reference).bind(order.customer).bind(stock.id);
            let query = query.bind(order.quantity).bind("no hurry");
            stats.statement(query.execute(&mut *tx)).await?;
            stats.statement(tx.commit()).await?;
        });
        Ok(true)
    }

    async fn orders_of(&self, stats: &Stats, customer: i64) -> Result<usize> {
        let sql = "SELECT id, reference, customer_id, stock_id, quantity, remark FROM orders WHERE customer_id = $1";
        on!(&self.database, pool => {
            let query = sqlx::query_as::<_, Order>(sql).bind(customer);
            Ok(stats.statement(query.fetch_all(pool)).await?.len())
        })
    }

    async fn restock(&self, stats: &Stats, sku: &str, quantity: i64) -> Result<bool> {
        let sql = "UPDATE stock SET available = available + $1 WHERE sku = $2";
        on!(&self.database, pool => {
            let query = sqlx::query(sql).bind(quantity).bind(sku);
            Ok(stats.statement(query.execute(pool)).await?.rows_affected() > 0)
        })
    }

    async fn seed(&self, customers: u64) -> Result<()> {
        let insert = "INSERT INTO customers (email, display_name, email_key)
                      SELECT 'Seed-' || n || '@Shop.Example', 'Customer ' || n, 'seed-' || n || '@shop.example' FROM s";
        let stock = "INSERT INTO stock (sku, available) SELECT 'article-' || (n - 1), $2 FROM s";
        shop::seed(&self.database, customers, insert, stock).await
    }

    async fn export(&self) -> Result<Vec<Held>> {
        let customers = "SELECT id, email, display_name, email_key FROM customers";
        let stock = "SELECT id, sku, available FROM stock";
        let orders = "SELECT o.reference, s.sku, o.quantity FROM orders o JOIN stock s ON s.id = o.stock_id";
        let mut held = Vec::new();
        on!(&self.database, pool => {
            for c in sqlx::query_as::<_, Customer>(customers).fetch_all(pool).await? {
                held.push(Held::Customer { email: c.email, name: c.display_name, key: c.email_key });
            }
            for (reference, sku, quantity) in sqlx::query_as(orders).fetch_all(pool).await? {
                held.push(Held::Order { reference, sku, quantity });
            }
            for s in sqlx::query_as::<_, Stock>(stock).fetch_all(pool).await? {
                held.push(Held::Stock { sku: s.sku, on_hand: s.available });
            }
        });
        Ok(held)
    }
}
