//! Structs and artifacts that cannot be used.

use schemadiff::model::Dialect;
use schemadiff_tests::engine::TestDatabase;

use super::{
    migrations::Notes,
    support::{Project, snapshot, workspace},
};

/// `new` and `diff` must refuse with this code and these words, and write nothing; on the very first run too.
#[track_caller]
fn refused(notes: &Notes, fields: &str, code: &str, words: &[&str]) {
    notes.declare(fields);
    let before = notes.project.files();
    for args in [&["new", "initial"][..], &["diff"], &["diff", "--json"]] {
        let run = notes.run(args).expect(code[2..4].parse().unwrap());
        let said = format!("{}{}", run.err, run.out);
        assert!(said.contains(code), "{args:?}: {run:#?}");
        assert!(words.iter().all(|word| said.contains(word)), "{args:?}, {words:?}: {run:#?}");
        let mut after = notes.project.files();
        // Cargo's own.
        after.retain(|path, _| before.contains_key(path) || !path.ends_with("Cargo.lock"));
        assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "{args:?}");
    }
    assert!(!notes.project.path().join("migrations").exists(), "not even an empty lock file");
}

#[test]
fn mistakes_in_structs_are_told_and_leave_nothing() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let notes = Notes::new(dialect);
        refused(&notes, "title: Nonsense,", "SD0304", &["Nonsense", "src/main.rs"]);
        refused(&notes, "title String,", "SD0304", &["src/main.rs"]);
        refused(
            &notes,
            "#[column(primary_key)] other: i64,",
            "SD0304",
            &["a table has one primary key", "src/main.rs"],
        );
        let index = "title: String,\n}\n#[derive(schemadiff::Table)]\n#[table(index(columns(nonsense)))]\n\
                     #[allow(dead_code)]\nstruct Other {\n    #[column(primary_key)] id: i64,";
        refused(&notes, index, "SD0304", &["nonsense", "src/main.rs"]);
        let long = "x".repeat(80);
        let name = format!("#[column(name = \"{long}\")] title: String,");
        if dialect == Dialect::Postgres {
            refused(&notes, &name, "SD0309", &["80", "63", &long]);
            refused(&notes, "#[column(name = \"ctid\")] place: String,", "SD0351", &["ctid", "notes", "system column"]);
        } else {
            notes.declare(&name);
            notes.run(&["new", "initial"]).expect(0);
            notes.run(&["apply"]).expect(0);
            notes.run(&["diff", "--exit-code"]).expect(0);
        }
    }
}

#[tokio::test]
async fn a_name_of_eighty_characters_from_a_file() {
    let project = Project::empty();
    let long = "y".repeat(80);
    let database = TestDatabase::new(Dialect::Postgres);
    project.write("schemadiff.toml", &format!("database-url = \"{}\"\n", database.url));
    project.write("long.toml", &snapshot("postgres", &[("users", &[&long])]));
    let run = project.run(&["new", "initial", "--to", "file:long.toml"]).expect_error("SD0351");
    assert!(run.err.contains(&long) && run.err.contains("63"), "{run:#?}");
    assert!(!project.path().join("migrations").exists());
    let made = "SELECT count(*) || '' FROM pg_class WHERE relname = 'users'";
    assert_eq!(database.text(made).await.as_deref(), Some("0"));
}

#[test]
fn programs_without_tables_and_of_a_newer_format() {
    let notes = Notes::new(Dialect::Sqlite);
    notes.run(&["diff"]).expect(0);
    let built = std::fs::read_dir(workspace().join("target/cli-tests/debug")).unwrap();
    let manifest = notes.project.read("Cargo.toml");
    let name = manifest.lines().find_map(|l| l.strip_prefix("name = ")).unwrap().trim_matches('"').to_owned();
    let program = built.map(|e| e.unwrap().path()).find(|p| p.file_name().unwrap() == name.as_str()).unwrap();
    let bytes = std::fs::read(&program).unwrap();
    let magic = schemadiff::artifact::MAGIC;
    let record = |at: &usize| bytes[*at..].starts_with(&magic) && bytes[at + 8..].starts_with(&1_u32.to_le_bytes());
    let mut newer = bytes.clone();
    newer[(0..bytes.len()).find(record).unwrap() + 8] = 99;
    std::fs::write(notes.project.path().join("newer"), newer).unwrap();
    let run = notes.run(&["diff", "--to", "artifact:newer"]).expect_error("SD0307");
    assert!(run.err.contains("format 99") && run.err.contains("update cargo-schemadiff"), "{run:#?}");
    let run = notes.run(&["new", "initial", "--to", "artifact:newer"]).expect_error("SD0307");
    assert!(!notes.project.path().join("migrations").exists(), "{run:#?}");

    // A program that is no use of ours: the tool itself declares no table.
    let tool = super::support::program().display().to_string();
    let run = notes.run(&["diff", "--to", &format!("artifact:{tool}")]).expect_error("SD0305");
    assert!(run.err.contains("table"), "{run:#?}");
}
