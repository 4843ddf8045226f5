use schemadiff::Table;

#[derive(Table)]
#[table(name = "orgs")]
struct Org {
    #[column(primary_key)]
    id: i64,
    name: String,
    #[column(skip)]
    cache: u128,
}

#[derive(Table)]
#[table(name = "users", foreign_key(columns(id, org), references(Org::id, User::id)))]
struct User {
    #[column(primary_key)]
    id: i64,
    org: i64,
}

fn main() {}
