use schemadiff::Table;

#[derive(Table)]
#[table(name = "users")]
struct User {
    #[column(primary_key)]
    id: i64,
    #[column(renamed_from = "x")]
    a: String,
    #[column(renamed_from = "x")]
    b: String,
}

fn main() {}
