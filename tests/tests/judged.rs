//! squawk judges every statement of every golden plan, as somebody would who knows nothing of phases. What it finds is listed
//! here with the reason why it is right in that place; anything else fails, and so does an entry that nothing needs any more.
//!
//! squawk reads statements one by one and knows neither which code runs nor what a statement really costs. The first is what
//! phases are for: what it says about clients that a change breaks counts for what is done before contract, while old code
//! runs. The second is measured (`plan_measured`).

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use schemadiff::{
    model::Dialect,
    plan::{Action, Envelope, Phase, Plan, Step},
};
use schemadiff_tests::{
    engine::Major,
    golden::{each_case, name_of, plan_file},
    judge::{Finding, squawk},
};

/// Which statements of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Forth,
    Back,
}
use Way::{Back, Forth};

/// A rule, the steps on which it may find something (how their names begin, without the number), and why.
const ALLOWED: &[(Way, &str, &[&str], &str)] = &[
    (
        Forth,
        "adding-field-with-default",
        &["add-column", "generated", "retype"],
        "of a table that is small, or empty: the plan says that it rewrites",
    ),
    (Back, "adding-field-with-default", &["generated"], "the same the other way"),
    (Forth, "adding-not-nullable-field", &["set-not-null"], "a check has proven it: nothing is scanned"),
    (Forth, "adding-required-field", &["add-column"], "its domain has a default"),
    (Forth, "ban-drop-type", &["change-type"], "no column stores it, and it is made again in the same step"),
    (
        Forth,
        "changing-column-type",
        &["retype", "replace-type"],
        "in the catalogue alone, or of a small table: the plan says which",
    ),
    (
        Forth,
        "constraint-missing-not-valid",
        &["add-unique"],
        "a deferrable one of a small table takes the place of a plain one",
    ),
    (Back, "constraint-missing-not-valid", &["add-unique"], "the same the other way"),
    (
        Forth,
        "constraint-missing-not-valid",
        &["generated", "replace-type"],
        "the table is small, or the plan says that it rewrites: what is over the column is made with it",
    ),
    (Back, "constraint-missing-not-valid", &["generated"], "the same the other way"),
    (
        Forth,
        "constraint-missing-not-valid",
        &["add-exclusion", "change-exclusion"],
        "the table is small, and no exclusion constraint can be added that is not valid",
    ),
    (
        Forth,
        "disallowed-unique-constraint",
        &["add-unique"],
        "a deferrable one of a small table takes the place of a plain one",
    ),
    (Back, "disallowed-unique-constraint", &["add-unique"], "the same the other way"),
    (Forth, "disallowed-unique-constraint", &["generated"], "made with the column, of a table that the step rewrites"),
    (Back, "disallowed-unique-constraint", &["generated"], "the same the other way"),
    (
        Forth,
        "prefer-robust-stmts",
        &["create-index", "drop-index"],
        "IF NOT EXISTS would accept what an attempt has left; `clean_up` removes it, `done_when` looks",
    ),
    (Back, "prefer-robust-stmts", &["create-index", "drop-index"], "the same the other way"),
    (
        Forth,
        "require-concurrent-index-creation",
        &["generated", "retype", "replace-type"],
        "over a column that the step makes anew, of a table that it rewrites",
    ),
    (Back, "require-concurrent-index-creation", &["generated"], "the same the other way"),
    (
        Forth,
        "require-concurrent-index-creation",
        &["create-materialized-view"],
        "of a materialized view that the step makes: nobody reads or writes it yet",
    ),
    (
        Forth,
        "require-concurrent-index-deletion",
        &["drop-index"],
        "of a partitioned table: the server has no other way",
    ),
    (
        Forth,
        "require-concurrent-index-deletion",
        &["replace-type"],
        "its condition names the type: made again in the same step",
    ),
    (
        Forth,
        "require-concurrent-partition-detach",
        &["detach-partition", "drop-table"],
        "the other way waits for every transaction, and leaves a check behind",
    ),
    (
        Back,
        "require-concurrent-partition-detach",
        &["create-table"],
        "new code alone has rows in it; the other way waits for every transaction, and leaves a check behind",
    ),
    (Forth, "require-enum-value-ordering", &["add-label"], "at the end is where it belongs"),
    // What clients would notice, before contract.
    (
        Forth,
        "ban-add-enum-value",
        &["add-label"],
        "H012: new code writes it when no old code is left that cannot read it",
    ),
    (Forth, "ban-alter-domain-with-add-constraint", &["add-check"], "not proven until later, as for a table"),
    (Forth, "ban-create-domain-with-constraint", &["create-domain"], "nobody uses it yet"),
    (Forth, "ban-alter-identity", &["identity"], "a sequence gives the numbers before and after"),
    (Forth, "ban-drop-constraint", &["drop-not-null-proof"], "the column itself is NOT NULL"),
    (
        Forth,
        "ban-drop-constraint",
        &["loosen-check", "replace-check", "drop-check", "drop-foreign-key"],
        "new code writes what it forbids; old code lives with more",
    ),
    (Forth, "ban-drop-column", &["generated"], "another one takes its place in the same transaction"),
    (Forth, "ban-drop-view", &["generated"], "another one takes its place in the same transaction"),
    (Forth, "ban-drop-index", &["drop-index"], "no statement names it, and what comes instead of it is there"),
    (Forth, "ban-drop-constraint", &["add-unique"], "another one takes its place in the same transaction"),
    (Forth, "ban-drop-default", &["default"], "old code names the column, or may leave it NULL"),
    (
        Forth,
        "ban-drop-default",
        &["change-function", "identity"],
        "another one takes its place in the same transaction",
    ),
    (
        Forth,
        "ban-drop-function",
        &["change-function", "switch-column"],
        "another one takes its place in the same transaction",
    ),
    (Forth, "ban-drop-sequence", &["identity"], "the column's own takes its place in the same transaction"),
    (Forth, "ban-drop-trigger", &["switch-column"], "another one takes its place in the same transaction"),
    (
        Forth,
        "ban-set-default",
        &["default", "add-column", "change-function", "identity"],
        "whoever leaves the column out gets a value that serves both",
    ),
    (Forth, "ban-set-schema", &["rename-table"], "a view of the old name stays behind"),
    (Forth, "renaming-table", &["rename-table"], "a view of the old name stays behind"),
    (Forth, "renaming-column", &["rename-column", "switch-column"], "the old version sees it through its views"),
    (
        Forth,
        "renaming-object",
        &["rename", "replace-check", "identity"],
        "no statement of an application names it but ON CONFLICT ON CONSTRAINT: H017",
    ),
];

/// Rules about what clients would notice.
fn is_about_clients(rule: &str) -> bool {
    rule.starts_with("ban-") || rule.starts_with("renaming-")
}

/// One file for what is sent in one envelope.
fn write(folder: &Path, name: &str, envelope: Envelope, statements: &[String]) {
    if statements.is_empty() {
        return;
    }
    // The executor says these.
    let mut text = match envelope {
        Envelope::Concurrent => {
            "-- squawk-disable-assume-in-transaction\nSET lock_timeout = '1s';\nSET statement_timeout = '5s';\n"
        }
        _ => "SET LOCAL lock_timeout = '1s';\nSET LOCAL statement_timeout = '5s';\n",
    }
    .to_owned();
    for statement in statements {
        let _ = writeln!(text, "{};", statement.trim());
    }
    fs::write(folder.join(format!("{name}.sql")), text).unwrap();
}

fn write_step(folder: &Path, case: &str, step: &Step) {
    let name = |way: &str| format!("{case}~{}~{way}", step.id);
    match &step.action {
        Action::Sql(statements) => write(folder, &name("forth"), step.envelope, statements),
        Action::Backfill(backfill) => {
            let mut sent = vec![backfill.update_sql.clone()];
            sent.extend(backfill.skip_locked_sql.clone());
            write(folder, &name("forth"), step.envelope, &sent);
        }
        // What a query gives is known only where it is asked.
        Action::Generated(_) => {}
    }
    write(folder, &name("back"), step.envelope, &step.undo);
    write(folder, &name("back-proof"), Envelope::Long, &step.undo_proof);
}

#[test]
fn squawk_finds_nothing_that_is_not_listed() {
    let folder = tempfile::tempdir().unwrap();
    let plans = each_case(|case| async move {
        let text = fs::read_to_string(plan_file(&case, Dialect::Postgres, Major::V15)).ok()?;
        Some((name_of(&case), Plan::from_toml(&text).unwrap()))
    });
    let plans: Vec<_> = plans.into_iter().flatten().collect();
    for (case, plan) in &plans {
        plan.steps.iter().for_each(|step| write_step(folder.path(), case, step));
    }
    let found = squawk(folder.path());
    let (mut unlisted, mut used) = (Vec::new(), BTreeSet::new());
    for finding in &found {
        let stem = finding.file.file_stem().unwrap().to_string_lossy();
        let [case, id, way] = stem.splitn(3, '~').collect::<Vec<_>>()[..] else { panic!("{stem}") };
        let plan = plans.iter().find(|(name, _)| name == case).unwrap();
        let step = plan.1.steps.iter().find(|step| step.id == id).unwrap();
        let way = if way == "forth" { Forth } else { Back };
        if is_about_clients(&finding.rule_name) && (way == Back || step.phase == Phase::Contract) {
            continue;
        }
        match listed(finding, way, step) {
            Some(entry) => drop(used.insert(entry)),
            None => unlisted.push(format!(
                "{case} {id} {way:?} line {}: {}: {}",
                finding.line + 1,
                finding.rule_name,
                finding.message
            )),
        }
    }
    println!("{} findings in {} plans", found.len(), plans.len());
    assert!(unlisted.is_empty(), "{} findings are not listed:\n{}", unlisted.len(), unlisted.join("\n"));
    let stale: Vec<_> = (0..ALLOWED.len()).filter(|entry| !used.contains(entry)).map(|entry| &ALLOWED[entry]).collect();
    assert!(stale.is_empty(), "nothing needs these any more: {stale:?}");
}

fn listed(finding: &Finding, on: Way, step: &Step) -> Option<usize> {
    let slug = step.id.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches('-');
    ALLOWED.iter().position(|(way, rule, steps, _)| {
        *way == on && *rule == finding.rule_name && steps.iter().any(|start| slug.starts_with(start))
    })
}
