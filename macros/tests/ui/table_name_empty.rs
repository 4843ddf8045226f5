use schemadiff::Table;

#[derive(Table)]
#[table(name = "")]
struct User {
    #[column(primary_key)]
    id: i64,
}

fn main() {}
