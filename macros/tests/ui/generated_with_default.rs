use schemadiff::Table;

#[derive(Table)]
#[table(name = "users")]
struct User {
    #[column(primary_key)]
    id: i64,
    #[column(generated = "lower(x)", default = "1")]
    email: String,
}

fn main() {}
