use schemadiff::Table;

#[derive(Table)]
#[table(name = "events", partition_by = "RANGE (created_at)")]
struct Event {
    #[column(primary_key)]
    id: i64,
    created_at: i64,
}

fn main() {}
