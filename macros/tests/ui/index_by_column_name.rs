use schemadiff::Table;

#[derive(Table)]
#[table(name = "users", index(columns(e_mail)))]
struct User {
    #[column(primary_key)]
    id: i64,
    #[column(name = "e_mail")]
    email: String,
}

fn main() {}
