use schemadiff::Table;

#[derive(Table)]
enum Mood {
    Happy,
}

#[derive(Table)]
struct Id(i64);

#[derive(Table)]
struct Pair(i64, i64);

#[derive(Table)]
struct Nothing;

#[derive(Table)]
union Either {
    a: i64,
    b: f64,
}

fn main() {}
