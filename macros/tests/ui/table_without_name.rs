use schemadiff::Table;

#[derive(Table)]
#[table(schema = "app")]
struct User {
    #[column(primary_key)]
    id: i64,
}

fn main() {}
