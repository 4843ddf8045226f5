//! Columns that an expression fills, which fails on some rows: the migration is written, the rows are named, and until they are
//! repaired nothing keeps it from being taken back.

use schemadiff::model::Dialect;

use super::bad_rows::Move;

const T: &str = "CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, a text NOT NULL";

/// Expressions over `a` that fail on `no`, a type for what they give, and a value of `a` that they take.
const EXPRESSIONS: [(Dialect, &str, &str, &str); 4] = [
    (Dialect::Postgres, "a::integer", "integer", "7"),
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
    for (dialect, expr, ty, value) in EXPRESSIONS {
        let moved = moved(dialect, expr, ty, value).await;
        moved.found_before(&["id = 13"], &format!("UPDATE t SET a = '{value}' WHERE id = 13")).await;
        assert_eq!(moved.database.text("SELECT CAST(count(b) AS text) FROM t").await.as_deref(), Some("4"));
    }
}

/// Old code knows nothing of the column and writes what it likes. Once all rows are filled a column that is NOT NULL can take no
/// more of those (H032).
#[tokio::test]
async fn old_code_writes_rows_that_it_fails_on() {
    for (dialect, expr, ty, value) in EXPRESSIONS {
        for not_null in [" NOT NULL", ""] {
            if dialect == Dialect::Sqlite {
                continue; // its triggers cannot leave a value out, which H032 says
            }
            let moved = moved(dialect, expr, &format!("{ty}{not_null}"), value).await;
            let (project, database) = (&moved.project, &moved.database);
            database.execute(&format!("UPDATE t SET a = '{value}' WHERE id = 13")).await;
            project.run(&["apply", "--until", "expand"]).expect(0);
            database.execute(&format!("INSERT INTO t (id, a) VALUES (15, 'no'), (16, '{value}')")).await;
            database.execute("UPDATE t SET a = 'no' WHERE id IN (12, 16)").await;
            database.execute("UPDATE t SET id = id WHERE id = 12").await;
            let empty =
                database.text("SELECT string_agg(id::text, ' ' ORDER BY id) FROM t WHERE a = 'no' AND b IS NULL");
            assert_eq!(empty.await.as_deref(), Some("12 15 16"), "{expr}: what it was derived from is gone");

            let run = project.run(&["apply"]).expect_error("SD0756");
            assert!(run.err.contains("id = 12"), "{run:#?}");
            database.execute(&format!("UPDATE t SET a = '{value}' WHERE a = 'no'")).await;
            project.run(&["apply", "--until", "backfill"]).expect(0);
            assert_eq!(database.text("SELECT count(b)::text FROM t").await.as_deref(), Some("6"));
            let late = database.try_execute("UPDATE t SET a = 'no' WHERE id = 11").await;
            assert_eq!(late.is_err(), !not_null.is_empty(), "{expr}: {late:?}");
            project.run(&["apply"]).expect(0);
            assert_eq!(
                database.text("SELECT count(b)::text FROM t").await.as_deref(),
                Some(if late.is_ok() { "5" } else { "6" })
            );
        }
    }
}

#[tokio::test]
async fn a_column_that_nobody_has_filled_has_nothing_to_lose() {
    for (dialect, expr, ty, value) in EXPRESSIONS {
        let moved = moved(dialect, expr, ty, value).await;
        let files = std::fs::read_dir(moved.project.path().join("migrations")).unwrap();
        let mut names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let id = names.find(|name| name.ends_with("_second")).unwrap();
        moved.project.run(&["apply"]).expect_error("SD0760");
        moved.database.execute(&format!("UPDATE t SET a = '{value}' WHERE id = 13")).await;
        for until in ["expand", "backfill"] {
            moved.project.run(&["apply", "--until", until]).expect(0);
            moved.project.run(&["abort", &id]).expect(0);
        }
        moved.project.run(&["apply"]).expect(0);
    }
}
