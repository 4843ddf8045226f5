use schemadiff::Table;

#[derive(Table)]
#[table(name = "events", primary_key(id, created_at), partition_by = "RANGE (created)")]
struct Event {
    id: i64,
    created_at: i64,
}

fn main() {}
