use schemadiff::Table;

#[derive(Table)]
#[table(name = "users")]
struct User {
    #[column(primary_key)]
    id: i64,
    #[column(backfill_with = "email_hash")]
    email_hash: Option<String>,
}

fn main() {}
