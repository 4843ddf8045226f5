use schemadiff::Table;

#[derive(Table)]
#[table(name = "users")]
struct User {
    #[column(primary_key)]
    id: i64,
    #[column(references = "orgs(id)")]
    email: String,
}

fn main() {}
