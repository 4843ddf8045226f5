use schemadiff::Table;

#[derive(Table)]
#[table(name = "users", index(columns(email), include(email)))]
struct User {
    #[column(primary_key)]
    id: i64,
    email: String,
    org_id: i64,
}

fn main() {}
