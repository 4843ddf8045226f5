//! The demo, with fewer rows: real processes of two versions on both engines, and every number of its summary.

use schemadiff_tests::engine::Postgres;

use super::support::{Project, finish, workspace};

#[test]
fn the_whole_story_on_both_engines() {
    let database = Postgres::shared().database();
    for more in [&[][..], &["--database-url", &database.url]] {
        let project = Project::empty();
        let mut command = project.command(&[&["demo", "--json", "--rows", "5000"], more].concat());
        command.current_dir(workspace());
        let run = finish(command).expect(0);
        let summary: serde_json::Value = serde_json::from_str(run.out.lines().last().unwrap()).unwrap();
        assert_eq!(run.out.lines().count(), 1, "{run:#?}");
        for (key, value) in [
            ("failed_statements", 0.into()),
            ("wrong_reads", 0.into()),
            ("rows_lost", 0.into()),
            ("rows_unexplained", 0.into()),
            ("plan_as_committed", true.into()),
            ("final_diff_empty", true.into()),
            ("processes", serde_json::Value::from(4)),
        ] {
            assert_eq!(summary[key], value, "{key}: {summary:#}");
        }
        assert_eq!(summary["gate_held_by"].as_array().unwrap().len(), 2, "{summary:#}");
        for key in ["statements", "max_stall_ms", "rows_backfilled", "rows_expected"] {
            assert!(summary[key].as_u64() > Some(0), "{key}: {summary:#}");
        }
        assert!(run.err.contains("backfill") && run.err.contains("Summary"), "{run:#?}");
    }
}

#[test]
fn without_the_repository_or_cargo_it_says_what_it_needs() {
    let project = Project::empty();
    project.run(&["demo"]).expect_error("SD0346");
    project.run(&["demo", "--shop", "none"]).expect_error("SD0345");
    let mut command = project.command(&["demo"]);
    command.current_dir(workspace()).env("PATH", "/nowhere").env_remove("CARGO");
    let run = finish(command).expect_error("SD0347");
    assert!(run.err.contains("rustup.rs"), "{run:#?}");
}
