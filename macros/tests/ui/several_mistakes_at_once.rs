use schemadiff::Table;

#[derive(Table)]
#[table(name = "users", primary_key(idd), strict = true)]
struct User {
    #[column(uniqe)]
    id: i64,
    #[column(default = now, on_delete = "drop")]
    email: String,
}

fn main() {}
