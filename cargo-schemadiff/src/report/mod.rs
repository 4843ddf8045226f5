//! What the tool says: text for people, JSON for programs.

pub mod describe;
mod human;
mod picture;
pub mod plan;
pub mod progress;
pub mod proof;
pub mod status;

use std::io::Write;

use serde::Serialize;

use crate::{Error, Kind, Result};
use picture::fitted;

pub use human::{bytes, count, duration};

/// Version of every JSON document that the tool prints.
pub const JSON_FORMAT: u32 = 1;

/// Styles of the terminal output.
pub mod style {
    use anstyle::{AnsiColor, Style};

    /// Headings.
    pub const HEADING: Style = Style::new().bold();
    /// What is fine.
    pub const GOOD: Style = AnsiColor::Green.on_default();
    /// What needs attention.
    pub const WARN: Style = AnsiColor::Yellow.on_default();
    /// What is wrong.
    pub const BAD: Style = AnsiColor::Red.on_default().bold();
    /// Names and numbers that are looked for.
    pub const ACCENT: Style = AnsiColor::Cyan.on_default();
    /// What is there for completeness.
    pub const DIM: Style = Style::new().dimmed();
}

/// Text in a style.
pub fn paint(style: anstyle::Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Where the results of a command go.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    /// One JSON document in place of text.
    pub json: bool,
    /// Results only.
    pub quiet: bool,
    /// 0, 1 (`-v`), 2 (`-vv`).
    pub verbose: u8,
}

impl Report {
    /// A result: text for people, nothing when the output is JSON.
    ///
    /// # Errors
    /// [`Kind::Interrupted`] when nobody reads any more.
    pub fn say(&self, text: impl AsRef<str>) -> Result<()> {
        if self.json { Ok(()) } else { print(text.as_ref()) }
    }

    /// Something beside the result, on standard error; not with `--quiet`.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.quiet {
            // A closed standard error leaves nobody to tell.
            let _ = writeln!(anstream::stderr(), "{}", text.as_ref());
        }
    }

    /// The result as a JSON document; nothing when the output is text.
    ///
    /// # Errors
    /// [`Kind::Interrupted`] when nobody reads any more.
    pub fn json(&self, document: &impl Serialize) -> Result<()> {
        if self.json { print(&(to_json(document)? + "\n")) } else { Ok(()) }
    }

    /// One of several results as a JSON document in one line; nothing when the output is text.
    ///
    /// # Errors
    /// [`Kind::Interrupted`] when nobody reads any more.
    pub fn json_line(&self, document: &serde_json::Value) -> Result<()> {
        if self.json { print(&format!("{document}\n")) } else { Ok(()) }
    }

    /// A picture that takes the place of the one before it, on a terminal: as much of it as the terminal has room for.
    ///
    /// # Errors
    /// [`Kind::Interrupted`] when nobody reads any more.
    pub fn picture(&self, text: &str) -> Result<()> {
        let stdout = std::io::stdout();
        let plain = anstream::AutoStream::choice(&stdout) == anstream::ColorChoice::Never;
        let text = if plain { anstream::adapter::strip_str(text).to_string() } else { text.to_owned() };
        let (rows, columns) = console::Term::stdout().size();
        // Each line to its end, then what is left of a longer picture.
        let lines: String =
            fitted(&text, rows.into(), columns.into()).iter().map(|line| format!("{line}\x1b[K\n")).collect();
        let mut out = stdout.lock();
        write!(out, "\x1b[H{lines}\x1b[J").and_then(|()| out.flush()).map_err(closed)
    }

    /// One line on standard output, whatever the format.
    ///
    /// # Errors
    /// [`Kind::Interrupted`] when nobody reads any more.
    pub fn line(&self, text: &str) -> Result<()> {
        print(&format!("{text}\n"))
    }

    /// An error, on standard error for people and, with JSON output, as a document on standard output too.
    pub fn error(&self, error: &Error) {
        self.told(error);
        if self.json {
            let document = serde_json::json!({ "format": JSON_FORMAT, "error": error_json(error) });
            // One line, because it may be the last of several.
            let _ = print(&format!("{document}\n"));
        }
    }

    /// An error that the document on standard output holds already, on standard error for people.
    pub fn told(&self, error: &Error) {
        let text = error.to_string();
        let (head, rest) = text.split_once(": ").unwrap_or(("error", &text));
        let _ = writeln!(anstream::stderr(), "{}: {rest}", paint(style::BAD, head));
    }
}

/// An error as a JSON value.
pub fn error_json(error: &Error) -> serde_json::Value {
    serde_json::json!({
        "code": error.code,
        "exit_code": error.kind.exit_code(),
        "effect": error.effect,
        "cause": error.cause,
        "help": error.help,
    })
}

/// Pretty JSON.
///
/// # Errors
/// [`Kind::Internal`] when the document cannot be written as JSON.
pub fn to_json(document: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(document)
        .map_err(|e| Error::new(Kind::Internal, "SD0933", "the result cannot be written as JSON").cause(e))
}

fn print(text: &str) -> Result<()> {
    let mut out = anstream::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(closed)
}

fn closed(cause: std::io::Error) -> Error {
    Error::new(Kind::Interrupted, "SD1301", "standard output was closed before everything was written").cause(cause)
}
