use schemadiff::Table;

#[derive(Table)]
#[table(name = "a", name = "b")]
struct User {
    #[column(primary_key)]
    id: i64,
}

fn main() {}
