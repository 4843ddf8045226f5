//! Columns that an expression fills, which fails on some rows: the migration is written, the rows are named, and until they are
//! repaired nothing keeps it from being taken back.

use schemadiff::model::Dialect;

use super::bad_rows::Move;

const T: &str = "CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, a text NOT NULL";

/// Expressions over `a` that fail on `no`, a type for what they give, and a value of `a` that they take.
const EXPRESSIONS: [(Dialect, &str, &str, &str); 5] = [
    (Dialect::Postgres, "a::integer", "integer", "7"),
    (Dialect::Postgres, "a::date", "date", "2026-02-03"),
    (Dialect::Postgres, "a::jsonb", "jsonb", "[1]"),
    (Dialect::Postgres, "100 / length(replace(a, 'no', ''))", "integer", "xx"),
    (Dialect::Sqlite, "json_extract(a, '$')", "text", "7"),
];

async fn moved(dialect: Dialect, expr: &str, column: &str, value: &str) -> Move {
    let rows = format!("INSERT INTO t (id, a) VALUES (11, '{value}'), (12, '{value}'), (13, 'no'), (14, '{value}')");
    let backfill = format!("t.b={expr}");
    Move::with(dialect, &format!("{T})"), &format!("{T}, b {column})"), &rows, &["--backfill", &backfill]).await
}

#[tokio::test]
async fn the_row_that_it_fails_on_is_named_before_anything_is_changed() {
    for (dialect, expr, ty, value) in EXPRESSIONS {
        let moved = moved(dialect, expr, &format!("{ty} NOT NULL"), value).await;
        moved.found_before(&["id = 13"], &format!("UPDATE t SET a = '{value}' WHERE id = 13")).await;
    }
}

#[tokio::test]
async fn the_row_of_a_column_that_may_be_null_is_named() {
    for (dialect, expr, ty, value) in EXPRESSIONS {
        let moved = moved(dialect, expr, ty, value).await;
        let run = moved.project.run(&["apply"]).expect_error("SD0756");
        assert!(run.err.contains("id = 13"), "{run:#?}");
        let status = moved.project.run(&["status"]).expect(0);
        assert!(status.out.contains("id = 13"), "{status:#?}");
        moved.database.execute(&format!("UPDATE t SET a = '{value}' WHERE id = 13")).await;
        moved.project.run(&["apply"]).expect(0);
        let filled = moved.database.text("SELECT CAST(count(b) AS text) FROM t").await;
        assert_eq!(filled.as_deref(), Some("4"));
    }
}

#[tokio::test]
async fn a_column_that_nobody_has_filled_has_nothing_to_lose() {
    for (dialect, expr, ty, value) in EXPRESSIONS {
        let moved = moved(dialect, expr, ty, value).await;
        let files = std::fs::read_dir(moved.project.path().join("migrations")).unwrap();
        let mut names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let id = names.find(|name| name.ends_with("_second")).unwrap();
        moved.project.run(&["apply", "--until", "expand"]).expect(0);
        moved.project.run(&["abort", &id]).expect(0);

        // In the midst of it, and when all is filled.
        moved.project.run(&["apply"]).expect_error("SD0756");
        moved.project.run(&["abort", &id]).expect(0);
        moved.database.execute(&format!("UPDATE t SET a = '{value}' WHERE id = 13")).await;
        moved.project.run(&["apply", "--until", "backfill"]).expect(0);
        moved.project.run(&["abort", &id]).expect(0);
        moved.project.run(&["apply"]).expect(0);
    }
}
