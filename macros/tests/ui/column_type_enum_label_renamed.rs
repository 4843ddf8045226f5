use schemadiff::ColumnType;

#[derive(ColumnType)]
#[column_type(name = "mood", renamed_from = "temper", rename_all = "lowercase")]
enum Mood {
    Happy,
    #[column_type(renamed_from = "happy")]
    Glad,
    #[column_type(renamed_from = "down")]
    Sad,
    #[column_type(renamed_from = "down")]
    Low,
}

#[derive(ColumnType)]
#[column_type(renamed_from = "temper")]
#[repr(i16)]
enum Level {
    #[column_type(renamed_from = "deep")]
    Low = 1,
}

fn main() {}
