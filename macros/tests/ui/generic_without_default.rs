use schemadiff::Table;

#[derive(Table)]
#[table(name = "pages")]
struct Page<T> {
    #[column(primary_key)]
    id: i64,
    content: T,
}

fn main() {}
