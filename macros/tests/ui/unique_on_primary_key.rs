use schemadiff::Table;

#[derive(Table)]
#[table(name = "users")]
struct User {
    #[column(primary_key, unique, index)]
    id: i64,
}

fn main() {}
