use schemadiff::Table;

#[derive(Table)]
#[table(name = "users", no_primary_key)]
struct User {
    #[column(primary_key)]
    id: i64,
    email: String,
    org_id: i64,
}

fn main() {}
