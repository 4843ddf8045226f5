use schemadiff::ColumnType;

#[derive(ColumnType)]
#[column_type(name = "mood", rename_all = "lowercase")]
enum Mood {
    Happy,
    #[column_type(rename = "happy")]
    Glad,
    #[column_type(renam = "sad")]
    Sad,
}

fn main() {}
