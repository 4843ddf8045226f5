use schemadiff::Table;

#[derive(Table)]
#[table(name = "events", primary_key(id, created_at), partition_by = "RANGE (created_at)", partition(name = "events_1", values = "1 TO 2"))]
struct Event {
    id: i64,
    created_at: i64,
}

fn main() {}
