use schemadiff::Table;

#[derive(Table)]
#[table(name = "users")]
struct User {
    #[column(primary_key)]
    id: i64,
    #[column(on_delete = "cascade", on_update = "cascade", deferrable)]
    email: String,
}

fn main() {}
