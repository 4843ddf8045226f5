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
#[table(name = "users")]
struct User {
    #[column(primary_key)]
    id: i64,
    #[column(references = Org::id, on_delete = "set default")]
    org: i64,
}

fn main() {}
