//! The worked examples of docs/deploying.md, carried out as they are written.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use schemadiff::{
    embed::Migrations,
    lockstep::admin::status,
    model::{Dialect, ObjectName},
};
use schemadiff_tests::{
    engine::TestDatabase,
    replica::{Release, Replica},
};

use super::support::{Project, Run, finish, program, snapshot, workspace};

const WORKER: &str = env!("CARGO_BIN_EXE_lockstep_worker");
const ENGINES: [Dialect; 2] = [Dialect::Postgres, Dialect::Sqlite];

/// The part of the document below a heading.
fn section(heading: &str) -> String {
    let document = std::fs::read_to_string(workspace().join("docs/deploying.md")).unwrap();
    let start = document.find(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    let rest = &document[start + 4..];
    rest[..rest.find("\n## ").unwrap_or(rest.len())].to_owned()
}

/// Its blocks of commands: lines that are indented by four spaces.
fn commands(heading: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    let mut fenced = false;
    for line in section(heading).lines() {
        fenced ^= line.starts_with("```");
        match line.strip_prefix("    ").filter(|_| !fenced) {
            Some(command) => *blocks.last_mut().unwrap() += &format!("{command}\n"),
            None if !blocks.last().unwrap().is_empty() => blocks.push(String::new()),
            None => {}
        }
    }
    blocks.retain(|block| !block.is_empty());
    blocks
}

/// A service `shop` in two versions, the second of which drops a column; the first is deployed.
struct Deployment {
    project: Project,
    db: TestDatabase,
    old: Release,
    new: Release,
}

impl Deployment {
    fn new(dialect: Dialect, applies: bool) -> Self {
        let (project, db) = (Project::empty(), TestDatabase::new(dialect));
        let release = |version: &str, columns: &[&str], more: &[&str]| {
            let file = format!("{version}.toml");
            project.write(&file, &snapshot(&dialect.to_string(), &[("users", columns)]));
            let (to, dir) = (format!("file:{file}"), format!("{version}/migrations"));
            let args = [&["new", version, "--to", &to, "--dir", &dir, "--database-url", &db.url], more].concat();
            project.run(&args).expect(0);
            let columns = columns.iter().map(|c| (*c).to_owned()).collect();
            Release { app: "shop".to_owned(), dir: project.path().join(dir), columns, applies, declares: None }
        };
        let old = release("v1", &["fullname", "email"], &["--from", "empty"]);
        let copied =
            Command::new("cp").arg("-r").arg(project.path().join("v1")).arg(project.path().join("v2")).status();
        assert!(copied.unwrap().success());
        let new = release("v2", &["email"], &["--allow-drop", "users.fullname"]);
        let deployment = Self { project, db, old, new };
        deployment.tool(&["apply"], "v1").expect(0);
        deployment
    }

    fn tool(&self, args: &[&str], version: &str) -> Run {
        let dir = format!("{version}/migrations");
        self.project.run(&[args, &["--dir", &dir, "--database-url", &self.db.url]].concat())
    }

    fn start(&self, release: &Release) -> Replica {
        release.spawn(WORKER, &self.db.url, &self.db.url).wait_until_ready()
    }

    /// A script of the document in a directory that holds the program and version 2's migrations and no cargo. The function
    /// `deploy_new_version` returns when `roll` has.
    fn script(&self, text: &str, roll: impl FnOnce() + Send) -> Run {
        let image = self.project.path().join("image");
        std::fs::create_dir_all(image.join("bin")).unwrap();
        let linked = Command::new("cp").arg("-r").arg(&self.new.dir).arg(&image).status().unwrap();
        assert!(linked.success());
        let tool = image.join("bin/cargo-schemadiff");
        if !tool.exists() {
            std::os::unix::fs::symlink(program(), &tool).unwrap();
        }
        let (asked, rolled) = (image.join("asked"), image.join("rolled"));
        for file in [&asked, &rolled] {
            let _ = std::fs::remove_file(file);
        }
        let deploy = "deploy_new_version() { touch asked; while [ ! -e rolled ]; do sleep 0.1; done; }\n";
        let mut command = Command::new("sh");
        command.current_dir(&image).args(["-ec", &format!("{deploy}{text}")]);
        command.env_clear().env("PATH", format!("{}:/usr/bin:/bin", image.join("bin").display()));
        command.env("DATABASE_URL", &self.db.url);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                if wait_for(&asked) {
                    roll();
                    std::fs::write(&rolled, "").unwrap();
                }
            });
            let run = finish(command);
            std::fs::write(&asked, "").unwrap(); // a script that failed before asked for nothing
            run
        })
    }
}

fn wait_for(file: &Path) -> bool {
    let began = Instant::now();
    while !file.exists() {
        if began.elapsed() > Duration::from_secs(120) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}

fn holds_together(lives: impl IntoIterator<Item = Replica>) {
    for replica in lives {
        let life = replica.stop();
        assert!(life.failed.is_empty() && !life.stored.is_empty(), "{life:#?}");
    }
}

async fn column_is_gone(db: &TestDatabase) -> bool {
    db.try_execute("SELECT fullname FROM users").await.is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_shot_job_before_the_rollout() {
    let block = commands("One-shot job before the rollout").remove(0);
    assert!(block.contains("\n# roll out\n"), "{block}");
    for dialect in ENGINES {
        let deployment = Deployment::new(dialect, false);
        let old = deployment.start(&deployment.old);
        let mut new = None;
        let script = block.replace("# roll out", "deploy_new_version");
        let roll = || {
            new = Some(deployment.start(&deployment.new));
            holds_together([old]);
        };
        deployment.script(&script, roll).expect(0);
        assert!(column_is_gone(&deployment.db).await);
        holds_together(new);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_without_cargo() {
    let blocks = commands("In a pipeline without cargo");
    for dialect in ENGINES {
        let deployment = Deployment::new(dialect, false);
        let old = deployment.start(&deployment.old);
        let script: String = blocks[0]
            .lines()
            .filter(|line| !line.starts_with("export DATABASE_URL="))
            .fold(String::new(), |text, line| text + line + "\n");
        assert_ne!(script.lines().count(), blocks[0].lines().count(), "the address is the test's own");
        // An old replica is left: that is no failure.
        let mut new = Vec::new();
        let impatient = script.replace("--wait 30m", "--wait 1s");
        let run = deployment.script(&impatient, || new.push(deployment.start(&deployment.new))).expect(0);
        assert!(run.out.contains("an old version still runs") && run.out.contains("shop"), "{run:#?}");
        assert!(!column_is_gone(&deployment.db).await);
        // The next run of the pipeline goes on from there.
        let run = deployment.script(&script, || holds_together([old])).expect(0);
        assert!(run.out.ends_with("contract is done\n"), "{run:#?}");
        assert!(column_is_gone(&deployment.db).await);
        holds_together(new);

        let watching: Vec<&str> = blocks[1].lines().collect();
        assert_eq!(watching[1], "cargo-schemadiff status --watch --json | jq -c '.status.waiting'");
        for line in watching {
            let once = line.split(" |").next().unwrap();
            let run = deployment.script(&format!("timeout --preserve-status -s INT 2 {once}"), || {}).expect(0);
            match line.contains("--json") {
                true => {
                    let first = run.out.lines().next().unwrap();
                    let document: serde_json::Value = serde_json::from_str(first).unwrap();
                    assert_eq!(document["status"]["waiting"], serde_json::json!([]), "{document}");
                }
                false => assert!(run.out.contains("done"), "{run:#?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blue_and_green() {
    let text = section("Blue and green");
    for command in ["`apply --until backfill`", "`status` shows both", "`apply --wait 30m`", "`--soak 24h`"] {
        assert!(text.contains(command), "the document has changed: {command}");
    }
    for dialect in ENGINES {
        let deployment = Deployment::new(dialect, false);
        let blue = deployment.start(&deployment.old);
        deployment.tool(&["apply", "--until", "backfill"], "v2").expect(0);
        let green = deployment.start(&deployment.new);
        let shown = deployment.tool(&["status"], "v2").expect(0).out;
        assert!(shown.matches("shop 2").count() >= 2, "{shown}");
        // What green writes is there for blue.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let first = i64::from(green.pid()) * 1_000_000;
        deployment.db.execute(&format!("SELECT fullname, email FROM users WHERE id = {first}")).await;
        holds_together([blue]);
        let held = deployment.tool(&["apply", "--wait", "1s", "--soak", "24h"], "v2").expect(8);
        assert!(held.err.contains("soak"), "{held:#?}");
        let shown = deployment.tool(&["status", "--soak", "24h", "--exit-code"], "v2").expect(8).out;
        assert!(shown.contains("the soak time is not over"), "{shown}");
        let shown = deployment.tool(&["status"], "v2").expect(0).out;
        assert!(!shown.contains("soak"), "nobody was said to wait: {shown}");
        deployment.tool(&["apply", "--wait", "60s"], "v2").expect(0);
        assert!(column_is_gone(&deployment.db).await);
        holds_together([green]);
    }
}

/// `billing` reads `users.fullname`, which `shop` is about to drop; it has migrations for a table of its own.
#[tokio::test(flavor = "multi_thread")]
async fn another_service_that_still_declares_a_column_holds_its_drop() {
    for dialect in ENGINES {
        let deployment = Deployment::new(dialect, false);
        let project = &deployment.project;
        project.write("billing.toml", &snapshot(&dialect.to_string(), &[("invoices", &["total"])]));
        let dir = project.path().join("billing");
        let new =
            ["new", "initial", "--from", "empty", "--to", "file:billing.toml", "--dir", "billing", "--database-url"];
        project.run(&[&new[..], &[&deployment.db.url]].concat()).expect(0);
        let mut billing = Release {
            app: "billing".to_owned(),
            dir,
            columns: vec!["fullname".to_owned()],
            applies: true,
            declares: None,
        };
        let declares = |billing: &Release, columns: &[&str]| {
            let mut schema = billing.lock();
            let users = ObjectName::new("users");
            let mut table = (*deployment.old.lock().tables[&users]).clone();
            table.columns.retain(|c| c.name == "id" || columns.contains(&c.name.as_str()));
            schema.tables.insert(users, table.into());
            Some(schema)
        };
        billing.declares = declares(&billing, &["fullname"]);
        let reader = deployment.start(&billing);
        let held = deployment.tool(&["apply", "--wait", "1s"], "v2").expect(8);
        assert!(held.err.contains("billing ") && !held.err.contains("for shop"), "{held:#?}");
        let shown = deployment.tool(&["status"], "v2").expect(0).out;
        println!("{shown}");
        for words in
            ["drop column `users.fullname`", "waits for", "billing 2", "column `users.fullname` does not exist"]
        {
            assert!(shown.contains(words), "{words}: {shown}");
        }
        let known = Migrations::load(&deployment.new.dir).unwrap();
        let seen = status(&deployment.db.url, Some(&known)).await.unwrap();
        assert_eq!(seen.waiting[0].holders.iter().map(|h| h.pid).collect::<Vec<_>>(), [i64::from(reader.pid())]);
        // A `billing` without that column holds nothing, although it brings no migration.
        (billing.declares, billing.columns) = (declares(&billing, &["email"]), vec!["email".to_owned()]);
        let other = deployment.start(&billing);
        holds_together([reader]);
        deployment.tool(&["apply", "--wait", "60s"], "v2").expect(0);
        assert!(column_is_gone(&deployment.db).await);
        holds_together([other]);
        // The old one is left behind.
        (billing.declares, billing.columns) = (declares(&billing, &["fullname"]), vec!["fullname".to_owned()]);
        assert!(billing.spawn(WORKER, &deployment.db.url, &deployment.db.url).is_refused());
    }
}
