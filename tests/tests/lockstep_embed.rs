//! Migrations in a directory and in a binary.

use schemadiff::embed::Migrations;
use schemadiff::model::Dialect;
use schemadiff_tests::lockstep::{FIRST, SECOND, first, lock, second, write};

const DIALECT: Dialect = Dialect::Sqlite;

/// Each kind of damage, and the code it gets.
#[test]
fn damaged_directories_are_told_apart() {
    type Damage = fn(&std::path::Path);
    let plan = |id: &str| format!("{id}/plan.toml");
    let cases: &[(&str, Damage)] = &[
        ("SD0420", |dir| std::fs::remove_file(dir.join("schemadiff.lock")).unwrap()),
        ("SD0432", |dir| std::fs::write(dir.join("schemadiff.lock"), "<<<<<<< HEAD").unwrap()),
        ("SD0422", |dir| edit(&dir.join("schemadiff.lock"), "format = 1", "format = 99")),
        ("SD0421", |dir| cut(&dir.join(SECOND).join("plan.toml"), 40)),
        ("SD0421", |dir| cut(&dir.join(SECOND).join("plan.toml"), 90)),
        ("SD0423", |dir| edit(&dir.join(SECOND).join("plan.toml"), "DROP COLUMN", "DROP  COLUMN IF EXISTS")),
        ("SD0422", |dir| edit(&dir.join(SECOND).join("plan.toml"), "format = 1", "format = 99")),
        ("SD0424", |dir| std::fs::rename(dir.join(SECOND), dir.join("20260102000000_other")).unwrap()),
        ("SD0426", |dir| std::fs::remove_dir_all(dir.join(FIRST)).unwrap()),
        ("SD0430", |dir| std::fs::remove_dir_all(dir.join(SECOND)).unwrap()),
        ("SD0430", |dir| edit(&dir.join("schemadiff.lock"), "type = \"TEXT\"", "type = \"BLOB\"")),
        ("SD0425", |dir| {
            let twin = dir.join("20260102000001_twin");
            std::fs::create_dir(&twin).unwrap();
            std::fs::copy(dir.join(SECOND).join("plan.toml"), twin.join("plan.toml")).unwrap();
            edit(&twin.join("plan.toml"), &format!("id = \"{SECOND}\""), "id = \"20260102000001_twin\"");
        }),
    ];
    for (at, (code, damage)) in cases.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), DIALECT, &[first(DIALECT), second(DIALECT)]);
        assert!(Migrations::load(dir.path()).is_ok());
        assert!(dir.path().join(plan(SECOND)).is_file());
        damage(dir.path());
        let error = Migrations::load(dir.path()).unwrap_err();
        assert_eq!(error.code(), *code, "case {at}: {error}");
        assert!(!error.help().is_empty());
    }
}

fn edit(file: &std::path::Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    std::fs::write(file, text.replacen(from, to, 1)).unwrap();
}

/// Keeps so many percent.
fn cut(file: &std::path::Path, percent: usize) {
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, &text[..text.len() * percent / 100]).unwrap();
}

/// As git writes files where it is told to.
#[test]
fn line_ends_of_another_system_are_no_edit() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), DIALECT, &[first(DIALECT), second(DIALECT)]);
    let file = dir.path().join("schemadiff.lock");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace('\n', "\r\n")).unwrap();
    Migrations::load(dir.path()).unwrap().history().unwrap();
}

#[test]
fn white_space_and_comments_in_a_plan_are_no_edit() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), DIALECT, &[first(DIALECT), second(DIALECT)]);
    let file = dir.path().join(SECOND).join("plan.toml");
    edit(&file, "DROP COLUMN", "DROP   /* at last */ COLUMN");
    Migrations::load(dir.path()).unwrap();
}

static EMBEDDED: Migrations = schemadiff::embed!("fixtures/migrations");

#[test]
fn a_binary_carries_what_the_directory_holds() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/migrations");
    if std::env::var_os("SCHEMADIFF_BLESS").is_some() {
        write(dir.as_ref(), DIALECT, &[first(DIALECT), second(DIALECT)]);
        return; // the binary carries what was there when it was built
    }
    let (embedded, loaded) = (EMBEDDED.history().unwrap(), Migrations::load(dir).unwrap().history().unwrap());
    assert_eq!(embedded.newest(), Some(SECOND));
    assert_eq!(embedded.snapshot(), loaded.snapshot());
    assert_eq!(*embedded.snapshot(), lock(DIALECT, &[first(DIALECT), second(DIALECT)]));
    let ids = |h: &schemadiff::embed::History| h.entries().iter().map(|e| e.head.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&embedded), [FIRST, SECOND]);
    assert_eq!(embedded.entry(SECOND).unwrap().plan().unwrap(), second(DIALECT));
}
