//! The schema as version 1 knows it.

use schemadiff::Table;

/// A customer.
#[derive(Table, sqlx::FromRow)]
#[allow(dead_code, reason = "a column that is read belongs to the table even where nobody looks at it")]
#[table(name = "customers")]
pub struct Customer {
    #[column(primary_key, identity)]
    pub id: i64,
    #[column(unique)]
    pub email: String,
    pub fullname: String,
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
    #[column(check = "on_hand >= 0")]
    pub on_hand: i64,
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
}
