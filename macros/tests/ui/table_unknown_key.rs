use schemadiff::Table;

#[derive(Table)]
#[table(nmae = "a")]
#[table(colour = "red")]
struct User {
    #[column(primary_key)]
    id: i64,
}

fn main() {}
