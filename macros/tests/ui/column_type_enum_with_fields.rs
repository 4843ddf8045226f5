use schemadiff::ColumnType;

#[derive(ColumnType)]
#[column_type(name = "shape")]
enum Shape {
    Point,
    Circle(f64),
}

fn main() {}
