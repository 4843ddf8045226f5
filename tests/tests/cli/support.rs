//! Runs the built program in a directory of its own.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

pub use schemadiff_tests::program::{program, workspace};

/// A project of one test: a directory in which the program runs.
pub struct Project {
    dir: tempfile::TempDir,
}

/// What a run of the program gave.
#[derive(Debug)]
pub struct Run {
    /// Exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Run {
    /// The run, which must have ended with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// The run, which must have ended with this error code; the exit code follows from it.
    #[track_caller]
    pub fn expect_error(self, code: &str) -> Self {
        let exit = match &code[2..4] {
            "13" => 130,
            digits => digits.parse().unwrap(),
        };
        let run = self.expect(exit);
        assert!(run.err.contains(&format!("error[{code}]")), "{code} expected: {run:#?}");
        run
    }

    /// Standard output as one JSON document.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }
}

impl Project {
    /// An empty directory.
    pub fn empty() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file.
    pub fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Every file with its content, to see that nothing was lost.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        fn collect(dir: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    collect(&path, found);
                } else {
                    found.insert(path.clone(), std::fs::read(path).unwrap());
                }
            }
        }
        let mut found = BTreeMap::new();
        collect(self.path(), &mut found);
        found
    }

    /// Reads a file.
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path().join(path)).unwrap()
    }

    /// A run of the program in the directory, without the variables of this process that it would heed.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.current_dir(self.path()).args(args).stdin(Stdio::null());
        for variable in ["DATABASE_URL", "SCHEMADIFF_LOG", "NO_COLOR", "CLICOLOR_FORCE", "CARGO_TARGET_DIR"] {
            command.env_remove(variable);
        }
        command
    }

    /// Runs the program.
    pub fn run(&self, args: &[&str]) -> Run {
        finish(self.command(args))
    }
}

/// Runs a command to its end.
pub fn finish(mut command: Command) -> Run {
    let output = command.output().unwrap();
    Run {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A small schema as a snapshot file.
pub fn snapshot(dialect: &str, tables: &[(&str, &[&str])]) -> String {
    let (id, text) = if dialect == "sqlite" { ("INTEGER", "TEXT") } else { ("bigint", "text") };
    let mut out = format!("format = 1\ndialect = \"{dialect}\"\n\n[schema]\n");
    for (table, columns) in tables {
        out += &format!("\n[[schema.tables]]\nname = \"{table}\"\n");
        out += &format!("\n[[schema.tables.columns]]\nname = \"id\"\ntype = \"{id}\"\n");
        out += "\n[schema.tables.columns.identity]\nkind = \"by_default\"\n";
        for column in *columns {
            out += &format!("\n[[schema.tables.columns]]\nname = \"{column}\"\ntype = \"{text}\"\nnullable = true\n");
        }
        out += "\n[schema.tables.primary_key]\n";
        if dialect != "sqlite" {
            out += &format!("name = \"{table}_pkey\"\n");
        }
        out += "columns = [\"id\"]\n";
    }
    out
}
