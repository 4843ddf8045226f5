//! The schema as version 3 knows it.

use schemadiff::Table;

/// A customer.
#[derive(Table, sqlx::FromRow)]
#[allow(dead_code, reason = "a column that is read belongs to the table even where nobody looks at it")]
#[table(name = "customers", index(columns(email_key)))]
pub struct Customer {
    #[column(primary_key, identity)]
    pub id: i64,
    #[column(unique)]
    pub email: String,
    pub display_name: String,
    /// For finding customers however they spell their address.
    pub email_key: String,
}

/// An article on the shelf.
#[derive(Table, sqlx::FromRow)]
#[allow(dead_code, reason = "a column that is read belongs to the table even where nobody looks at it")]
#[table(name = "stock")]
pub struct Stock {
    #[column(primary_key, identity)]
    pub id: i64,
    #[column(unique)]
    pub sku: String,
    #[column(check = "available >= 0", renamed_from = "on_hand")]
    pub available: i64,
}

/// An order.
#[derive(Table, sqlx::FromRow)]
#[allow(dead_code, reason = "a column that is read belongs to the table even where nobody looks at it")]
#[table(name = "orders", index(columns(customer_id)), index(columns(stock_id)))]
pub struct Order {
    #[column(primary_key, identity)]
    pub id: i64,
    #[column(unique)]
    pub reference: String,
    #[column(references = Customer::id)]
    pub customer_id: i64,
    #[column(references = Stock::id)]
    pub stock_id: i64,
    #[column(check = "quantity > 0")]
    pub quantity: i64,
    /// What the customer says about it.
    pub remark: Option<String>,
}
