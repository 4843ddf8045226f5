use schemadiff::Table;

struct Plain {
    id: i64,
}

#[derive(Table)]
#[table(name = "users")]
struct User {
    #[column(primary_key)]
    id: i64,
    #[column(references = Plain::id)]
    org: i64,
}

fn main() {}
