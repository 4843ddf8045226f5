//! What the parser of the command line says, as an error like any other.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::{Error, Kind, address::redact};

/// The first paragraph is what is wrong; tips and the usage are ways out.
pub fn error(said: &clap::Error) -> Error {
    let text = without_passwords(said);
    if said.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // What is shown is all of the help.
        return usage_error("no command is given").help("`cargo schemadiff --help` lists the commands");
    }
    let mut paragraphs = text.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    let effect = paragraphs.next().unwrap_or_default();
    let error = usage_error(effect.trim_start_matches("error: "));
    let ways_out = paragraphs.filter(|part| !part.is_empty() && !part.starts_with("For more information"));
    let error = ways_out.fold(error, |error, part| error.help(part.trim_start_matches("tip: ")));
    error.help("`cargo schemadiff COMMAND --help` lists every option")
}

/// What was given may be an address that stands in the wrong place, or one that is mistyped.
fn without_passwords(said: &clap::Error) -> String {
    let mut text = said.render().to_string();
    for kind in [ContextKind::InvalidValue, ContextKind::InvalidArg, ContextKind::InvalidSubcommand] {
        let Some(ContextValue::String(given)) = said.get(kind) else { continue };
        let shown = redact(given);
        // Words of another kind of address (`host=db password=..`) that no rule takes apart.
        let shown = if shown.to_ascii_lowercase().contains("password=") { "…" } else { &shown };
        text = text.replace(given.as_str(), shown);
    }
    text
}

fn usage_error(effect: &str) -> Error {
    Error::new(Kind::Usage, "SD0201", effect)
}

/// Whether a document is wanted: the arguments could not be parsed, so they are looked at as they are.
pub fn asks_for_json(args: &[OsString]) -> bool {
    let words: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
    words.iter().any(|word| word == "--json" || word == "--format=json")
        || words.windows(2).any(|pair| pair[0] == "--format" && pair[1] == "json")
}
