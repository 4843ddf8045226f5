use schemadiff::Table;

struct Money;

#[derive(Table)]
#[table(name = "users")]
struct User {
    #[column(primary_key)]
    id: i64,
    money: Money,
}

fn main() {}
