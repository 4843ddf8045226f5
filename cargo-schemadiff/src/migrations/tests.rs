use std::fs;

use schemadiff::{
    model::{Column, Dialect, Fingerprint, ObjectName, Schema, Table, between},
    plan::{Action, Envelope, PLAN_FORMAT, Phase, SNAPSHOT_FORMAT, Step},
};

use super::*;

fn schema(tables: &[&str]) -> Schema {
    let tables = tables.iter().map(|name| {
        let mut table = Table::new(ObjectName::new(*name));
        table.columns.push(Column::new("id", "INTEGER"));
        (table.name.clone(), table.into())
    });
    Schema { tables: tables.collect(), ..Schema::default() }
}

fn plan(id: &str, parent: Option<&str>, before: &Schema, after: &Schema) -> Plan {
    let step = Step {
        id: "01-create-table".into(),
        phase: Phase::Expand,
        title: "create the table".into(),
        cause: "new table".into(),
        envelope: Envelope::Transaction,
        action: Action::Sql(vec!["CREATE TABLE t (id INTEGER)".into()]),
        locks: vec![],
        rewrites: false,
        scans: false,
        rebuilds_indexes: false,
        keeps: Vec::new(),
        probes: Vec::new(),
        hazards: vec![],
        lock_timeout_ms: 500,
        statement_timeout_ms: 0,
        done_when: None,
        clean_up: None,
        stopped_by: None,
        undo: vec![],
        undo_proof: vec![],
        undo_takes: vec![],
        only_while_small: vec![],
        undo_loses: vec![],
        undo_probes: vec![],
        undoable: true,
        effects: between(before, after),
    };
    Plan {
        format: PLAN_FORMAT,
        id: id.into(),
        dialect: Dialect::Sqlite,
        parent: parent.map(Into::into),
        before: Fingerprint::of(before),
        after: Fingerprint::of(after),
        strategy: None,
        allowed_drops: vec![],
        notes: vec![],
        checksum: String::new(),
        steps: vec![step],
    }
}

fn lock(head: &str, schema: &Schema) -> Snapshot {
    Snapshot {
        format: SNAPSHOT_FORMAT,
        dialect: Dialect::Sqlite,
        head: Some(head.into()),
        sources: Sources::new(),
        schema: schema.clone(),
    }
}

/// Two migrations, as `new` writes them.
fn two_migrations(dir: &Path) {
    let (empty, one, two) = (schema(&[]), schema(&["a"]), schema(&["a", "b"]));
    write_migration(dir, &plan("20260101000000_first", None, &empty, &one), &lock("20260101000000_first", &one))
        .unwrap();
    let second = plan("20260101000001_second", Some("20260101000000_first"), &one, &two);
    write_migration(dir, &second, &lock("20260101000001_second", &two)).unwrap();
}

fn codes(dir: &Path) -> Vec<&'static str> {
    Migrations::inspect(dir).1.iter().map(|e| e.code).collect()
}

fn edit(path: &Path, edit: impl Fn(String) -> String) {
    let text = fs::read_to_string(path).unwrap();
    let edited = edit(text.clone());
    assert_ne!(text, edited);
    fs::write(path, edited).unwrap();
}

#[test]
fn what_was_written_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    two_migrations(dir.path());
    let migrations = Migrations::read(dir.path()).unwrap();
    assert_eq!(
        migrations.plans.iter().map(|p| p.id.as_str()).collect::<Vec<_>>(),
        ["20260101000000_first", "20260101000001_second"]
    );
    assert_eq!(migrations.lock.unwrap().schema, schema(&["a", "b"]));
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "nothing temporary stays behind: {left:?}");
}

#[test]
fn a_directory_that_is_not_there_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let migrations = Migrations::read(&dir.path().join("none")).unwrap();
    assert!(migrations.plans.is_empty() && migrations.lock.is_none());
}

#[test]
fn an_edited_plan_is_found_and_white_space_is_not() {
    let dir = tempfile::tempdir().unwrap();
    two_migrations(dir.path());
    let file = dir.path().join("20260101000000_first").join(PLAN_FILE);
    edit(&file, |t| t.replace("CREATE TABLE t (id INTEGER)", "CREATE TABLE  t  (id INTEGER)"));
    assert!(codes(dir.path()).is_empty());
    edit(&file, |t| t.replace("(id INTEGER)", "(id TEXT)"));
    assert_eq!(codes(dir.path()), ["SD0423"]);
}

#[test]
fn a_plan_that_is_cut_off_anywhere_is_found() {
    let dir = tempfile::tempdir().unwrap();
    two_migrations(dir.path());
    let file = dir.path().join("20260101000001_second").join(PLAN_FILE);
    let text = fs::read_to_string(&file).unwrap();
    for at in (0..text.trim_end().len()).step_by(7) {
        fs::write(&file, &text[..at]).unwrap();
        let found = codes(dir.path());
        assert!(found == ["SD0421"] || found == ["SD0423"], "cut at {at}: {found:?}");
    }
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let dir = tempfile::tempdir().unwrap();
    two_migrations(dir.path());
    edit(&dir.path().join("20260101000000_first").join(PLAN_FILE), |t| t.replace("format = 1", "format = 99"));
    edit(&dir.path().join(LOCK_FILE), |t| t.replace("format = 1", "format = 99"));
    assert_eq!(codes(dir.path()), ["SD0422", "SD0422"]);
}

#[test]
fn two_with_one_parent_are_a_conflict() {
    let dir = tempfile::tempdir().unwrap();
    two_migrations(dir.path());
    let (one, other) = (schema(&["a"]), schema(&["a", "c"]));
    let third = plan("20260101000002_other", Some("20260101000000_first"), &one, &other);
    write_migration(dir.path(), &third, &lock("20260101000002_other", &other)).unwrap();
    let (_, findings) = Migrations::inspect(dir.path());
    assert_eq!(findings.iter().map(|e| e.code).collect::<Vec<_>>(), ["SD0425"]);
    assert!(findings[0].effect.contains("second") && findings[0].effect.contains("other"));
}

#[test]
fn a_missing_parent_a_renamed_directory_and_a_foreign_lock_are_found() {
    let dir = tempfile::tempdir().unwrap();
    two_migrations(dir.path());
    let first = dir.path().join("20260101000000_first");
    let away = dir.path().join("20260101000000_renamed");
    fs::rename(&first, &away).unwrap();
    assert_eq!(codes(dir.path()), ["SD0424"]);
    fs::remove_dir_all(&away).unwrap();
    assert_eq!(codes(dir.path()), ["SD0426"]);
    fs::remove_dir_all(dir.path().join("20260101000001_second")).unwrap();
    assert_eq!(codes(dir.path()), ["SD0430"]);
}

#[test]
fn a_lock_that_disagrees_is_found() {
    let dir = tempfile::tempdir().unwrap();
    two_migrations(dir.path());
    let file = dir.path().join(LOCK_FILE);
    edit(&file, |t| t.replacen("INTEGER", "TEXT", 1));
    assert_eq!(codes(dir.path()), ["SD0430"]);
    fs::write(&file, "<<<<<<< ours\n").unwrap();
    assert_eq!(codes(dir.path()), ["SD0432"]);
    fs::remove_file(&file).unwrap();
    assert_eq!(codes(dir.path()), ["SD0430"]);
}

#[test]
fn a_chain_that_does_not_fit_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (empty, one, two) = (schema(&[]), schema(&["a"]), schema(&["a", "b"]));
    write_migration(dir.path(), &plan("20260101000000_first", None, &empty, &one), &lock("x", &one)).unwrap();
    let second = plan("20260101000001_second", Some("20260101000000_first"), &empty, &two);
    write_migration(dir.path(), &second, &lock("20260101000001_second", &two)).unwrap();
    assert_eq!(codes(dir.path()), ["SD0427"]);
}

#[test]
fn names_and_ids() {
    assert!(new_id("add_email-key", None).unwrap().ends_with("_add_email-key"));
    for bad in ["", "a b", "../x", "é", "-x", &"x".repeat(101)] {
        assert_eq!(new_id(bad, None).unwrap_err().code, "SD0213", "{bad}");
    }
    assert_eq!(new_id("x", Some("99990101000000_future")).unwrap(), "99990101000001_x");
}
