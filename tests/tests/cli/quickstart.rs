//! docs/quickstart.md, carried out as it is written.

use std::process::Command;

use super::support::{Project, finish, program, workspace};

/// What the reader does, one after the other.
#[derive(Debug, PartialEq)]
enum Act {
    /// A line for the shell, and the exit code that its comment promises.
    Run(String, i32),
    /// A block of code.
    Code(String, String),
}

fn acts(document: &str) -> Vec<Act> {
    let mut acts = Vec::new();
    let mut block: Option<(String, String)> = None;
    for line in document.lines() {
        if let Some(language) = line.strip_prefix("```") {
            match block.take() {
                Some((language, text)) => acts.push(Act::Code(language, text)),
                None => block = Some((language.to_owned(), String::new())),
            }
        } else if let Some((_, text)) = &mut block {
            *text += &format!("{line}\n");
        } else if let Some(command) = line.strip_prefix("    ") {
            let (command, comment) = command.split_once('#').unwrap_or((command, ""));
            let promised = comment.split(|c: char| !c.is_ascii_digit()).find_map(|word| word.parse().ok());
            acts.push(Act::Run(command.trim().to_owned(), promised.unwrap_or(0)));
        }
    }
    acts
}

/// The struct in some code, from its derive to its last brace.
fn structure(code: &str) -> &str {
    let start = code.find("#[derive").unwrap();
    &code[start..start + code[start..].find("\n}\n").unwrap() + 3]
}

#[test]
fn every_command_does_what_the_quickstart_says() {
    let document = std::fs::read_to_string(workspace().join("docs/quickstart.md")).unwrap();
    let tutorial = &document[..document.find("## In the service").unwrap()];
    let project = Project::empty();
    let bin = project.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(program(), bin.join("cargo-schemadiff")).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let crate_dir = project.path().join("notes");
    let mut ran = Vec::new();
    for act in acts(tutorial) {
        match act {
            Act::Code(language, text) if language == "toml" => {
                std::fs::write(crate_dir.join("schemadiff.toml"), text).unwrap();
            }
            Act::Code(_, text) => {
                let main = crate_dir.join("src/main.rs");
                let code = match text.contains("fn main") {
                    true => text,
                    false => {
                        let old = std::fs::read_to_string(&main).unwrap();
                        old.replace(structure(&old), structure(&text))
                    }
                };
                std::fs::write(main, code).unwrap();
            }
            Act::Run(command, promised) => {
                let mut shell = Command::new("sh");
                shell.current_dir(if crate_dir.exists() { &crate_dir } else { project.path() });
                // The crate of this checkout, and the versions that it was built with: nothing is fetched.
                let add = format!("cargo add --offline schemadiff --path {}/runtime", workspace().display());
                shell.args(["-c", &command.replace("cargo add schemadiff", &add)]).env("PATH", &path);
                for variable in ["DATABASE_URL", "SCHEMADIFF_LOG", "CARGO", "RUSTFLAGS"] {
                    shell.env_remove(variable);
                }
                shell.env("CARGO_TARGET_DIR", workspace().join("target/cli-tests")).env("CARGO_NET_OFFLINE", "true");
                let run = finish(shell);
                assert_eq!(run.code, Some(promised), "{command}: {run:#?}");
                if command.starts_with("cargo new") {
                    std::fs::copy(workspace().join("Cargo.lock"), crate_dir.join("Cargo.lock")).unwrap();
                }
                ran.push(command);
            }
        }
    }
    assert!(ran.len() >= 11 && ran.iter().any(|c| c.starts_with("cargo schemadiff status")), "{ran:?}");
    assert!(crate_dir.join("notes.db").exists() && crate_dir.join("migrations/schemadiff.lock").exists());
}

#[test]
fn a_block_of_the_document_is_read_as_a_reader_does() {
    let text = "    a  # 1: no\n\nText `x`.\n\n```toml\n    b = 1\n```\n    c # done\n";
    let expected = [
        Act::Run("a".to_owned(), 1),
        Act::Code("toml".to_owned(), "    b = 1\n".to_owned()),
        Act::Run("c".to_owned(), 0),
    ];
    assert_eq!(acts(text), expected);
}
