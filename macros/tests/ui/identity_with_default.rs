use schemadiff::Table;

#[derive(Table)]
#[table(name = "users")]
struct User {
    #[column(primary_key, identity, default = 1)]
    id: i64,
    #[column(identity = "allways")]
    n: i64,
}

fn main() {}
