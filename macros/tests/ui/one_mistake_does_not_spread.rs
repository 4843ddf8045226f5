use schemadiff::Table;

// The mistake is here ...
#[derive(Table)]
#[table(name = "orgs")]
struct Org {
    #[column(primary_kye)]
    id: i64,
}

// ... and nothing is said about this one.
#[derive(Table)]
#[table(name = "users")]
struct User {
    #[column(primary_key)]
    id: i64,
    #[column(references = Org::id)]
    org: i64,
}

fn main() {}
