use schemadiff::Table;

#[derive(Table)]
#[table(name = "users", renamed_from = "users")]
struct User {
    #[column(primary_key)]
    id: i64,
    #[column(renamed_from = "email")]
    email: String,
    #[column(renamed_from = "email")]
    mail: String,
}

fn main() {}
