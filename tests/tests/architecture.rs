//! The rules of ARCHITECTURE.md that can be checked by reading the sources.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    str::FromStr as _,
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// What each room of the runtime may import.
const RUNTIME: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("types", &[]),
    ("artifact", &["model", "types"]),
    ("compat", &["model"]),
    ("plan", &["model", "compat"]),
    ("waiting", &["compat"]),
    ("error", &["model", "compat", "waiting"]),
    ("embed", &["model", "plan", "error"]),
    ("backend", &["model", "compat", "plan", "waiting", "error"]),
    ("diesel", &["model", "error", "backend", "lockstep"]),
    ("lockstep", &["model", "artifact", "compat", "plan", "waiting", "error", "embed", "backend"]),
];

/// What each room of the tool may import.
const TOOL: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("config", &["error"]),
    ("address", &[]),
    ("dialect", &["error", "address"]),
    ("diff", &["error"]),
    ("project", &["error", "config"]),
    ("hazard", &["error", "dialect", "diff"]),
    ("planner", &["error", "dialect", "diff", "hazard"]),
    ("prove", &["error", "dialect", "diff", "planner"]),
    ("migrations", &["error", "dialect", "diff"]),
    ("report", &["error", "dialect", "diff", "planner", "hazard", "prove"]),
];

/// Longer than 600 lines, and why that is better than two files.
const LONG_FILES: &[(&str, &str)] = &[];

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, extension: &str, out: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, extension, out);
            } else if path.extension().is_some_and(|e| e == extension) {
                out.push(path);
            }
        }
    }
    let mut out = Vec::new();
    walk(&workspace().join(folder), extension, &mut out);
    out.sort();
    out
}

fn relative(path: &Path) -> String {
    path.strip_prefix(workspace()).unwrap().display().to_string()
}

/// The tokens of a file without comments and without what `#[cfg(test)]` stands on.
fn tokens(path: &Path) -> Vec<TokenTree> {
    let text = fs::read_to_string(path).unwrap();
    let stream = TokenStream::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", relative(path)));
    without_tests(stream)
}

fn without_tests(stream: TokenStream) -> Vec<TokenTree> {
    let mut out = Vec::new();
    let mut skipping = false;
    for tree in stream {
        match &tree {
            TokenTree::Group(group) if group.stream().to_string().replace(' ', "") == "cfg(test)" => skipping = true,
            TokenTree::Group(group) if skipping && group.delimiter() == Delimiter::Brace => skipping = false,
            TokenTree::Punct(punct) if skipping && punct.as_char() == ';' => skipping = false,
            _ if skipping => {}
            _ => out.push(tree),
        }
    }
    out
}

/// Every identifier, however deep, in order; `::` is kept as an empty one.
fn identifiers(trees: &[TokenTree], out: &mut Vec<String>) {
    for (at, tree) in trees.iter().enumerate() {
        match tree {
            TokenTree::Ident(ident) => out.push(ident.to_string()),
            TokenTree::Group(group) => identifiers(&without_tests(group.stream()), out),
            TokenTree::Punct(p) if p.as_char() == ':' => {
                if matches!(trees.get(at + 1), Some(TokenTree::Punct(next)) if next.as_char() == ':') {
                    out.push(String::new());
                }
            }
            _ => {}
        }
    }
}

fn string_literals(trees: &[TokenTree], out: &mut Vec<String>) {
    for tree in trees {
        match tree {
            TokenTree::Literal(literal) => out.push(literal.to_string()),
            TokenTree::Group(group) => string_literals(&without_tests(group.stream()), out),
            _ => {}
        }
    }
}

/// The top-level modules that the tokens name through `crate::` or through enough `super::`s.
fn imports(module: &[String], trees: &[TokenTree], out: &mut BTreeSet<String>) {
    let mut at = 0;
    while at < trees.len() {
        if let TokenTree::Group(group) = &trees[at] {
            imports(module, &without_tests(group.stream()), out);
        }
        let root = match &trees[at] {
            TokenTree::Ident(i) if i == "crate" => true,
            TokenTree::Ident(i) if i == "super" => {
                let mut ups = 1;
                while matches!(trees.get(at + 3), Some(TokenTree::Ident(i)) if i == "super") {
                    ups += 1;
                    at += 3;
                }
                ups >= module.len()
            }
            _ => false,
        };
        if root && matches!(trees.get(at + 1), Some(TokenTree::Punct(p)) if p.as_char() == ':') {
            match trees.get(at + 3) {
                Some(TokenTree::Ident(ident)) => drop(out.insert(ident.to_string())),
                Some(TokenTree::Group(group)) => heads(group.stream(), out),
                _ => {}
            }
        }
        at += 1;
    }
}

/// The first identifier of each element of `{a::b, c}`.
fn heads(list: TokenStream, out: &mut BTreeSet<String>) {
    let mut fresh = true;
    for tree in list {
        match tree {
            TokenTree::Ident(ident) if fresh => {
                out.insert(ident.to_string());
                fresh = false;
            }
            TokenTree::Punct(punct) => fresh = punct.as_char() == ',',
            _ => fresh = false,
        }
    }
}

/// `[dialect, postgres, connect]` for `src/dialect/postgres/connect.rs`.
fn module_path(source: &Path, file: &Path) -> Vec<String> {
    let inside = file.strip_prefix(source).unwrap().with_extension("");
    let mut parts: Vec<_> = inside.iter().map(|p| p.to_str().unwrap().to_owned()).collect();
    if parts.last().is_some_and(|p| p == "mod" || p == "lib") {
        parts.pop();
    }
    parts
}

fn violations(source: &str, rules: &[(&str, &[&str])]) -> Vec<String> {
    let rules: BTreeMap<_, _> = rules.iter().copied().collect();
    let folder = workspace().join(source);
    let rooms: BTreeSet<String> =
        files(source, "rs").iter().filter_map(|f| module_path(&folder, f).first().cloned()).collect();
    let mut found = Vec::new();
    for file in files(source, "rs") {
        let module = module_path(&folder, &file);
        let Some(allowed) = module.first().and_then(|room| rules.get(room.as_str())) else { continue };
        let is_test = file.file_stem().is_some_and(|s| s.to_string_lossy().ends_with("tests"));
        if is_test {
            continue;
        }
        let mut named = BTreeSet::new();
        imports(&module, &tokens(&file), &mut named);
        for name in named {
            if rooms.contains(&name) && name != module[0] && !allowed.contains(&name.as_str()) {
                found.push(format!("{} imports crate::{name}", relative(&file)));
            }
        }
    }
    found
}

#[test]
fn imports_run_one_way() {
    let mut found = violations("runtime/src", RUNTIME);
    found.extend(violations("cargo-schemadiff/src", TOOL));
    assert!(found.is_empty(), "against the direction of imports:\n{}", found.join("\n"));
}

#[test]
fn every_room_has_a_rule_or_stands_above_them() {
    let above = ["lib", "main", "commands", "side", "macros", "hook", "private"];
    let mut unknown = Vec::new();
    for (source, rules) in [("runtime/src", RUNTIME), ("cargo-schemadiff/src", TOOL)] {
        let folder = workspace().join(source);
        for file in files(source, "rs") {
            let Some(room) = module_path(&folder, &file).first().cloned() else { continue };
            if !above.contains(&room.as_str()) && !rules.iter().any(|(known, _)| *known == room) {
                unknown.push(format!("{source}/{room}"));
            }
        }
    }
    unknown.dedup();
    assert!(unknown.is_empty(), "say in tests/tests/architecture.rs what these may import: {unknown:?}");
}

#[test]
fn the_diff_and_the_planner_name_no_dialect() {
    let mut found = Vec::new();
    for (folder, words) in [
        (
            "cargo-schemadiff/src/diff",
            ["Dialect", "Postgres", "Sqlite", "Mysql", "postgres", "sqlite", "mysql"].as_slice(),
        ),
        ("cargo-schemadiff/src/planner", &["Postgres", "Sqlite", "Mysql", "postgres", "sqlite", "mysql"]),
    ] {
        for file in files(folder, "rs").into_iter().filter(|f| !f.to_string_lossy().contains("tests")) {
            let mut named = Vec::new();
            identifiers(&tokens(&file), &mut named);
            let named: BTreeSet<_> = named.iter().filter(|i| words.contains(&i.as_str())).collect();
            if !named.is_empty() {
                found.push(format!("{} names {named:?}", relative(&file)));
            }
        }
    }
    assert!(found.is_empty(), "branch on capabilities instead:\n{}", found.join("\n"));
}

#[test]
fn files_stay_short() {
    let mut long = Vec::new();
    for folder in ["macros", "runtime", "cargo-schemadiff", "tests", "examples"] {
        for file in files(folder, "rs") {
            let lines = fs::read_to_string(&file).unwrap().lines().count();
            let name = relative(&file);
            if lines > 600 && !name.contains("/target/") && !LONG_FILES.iter().any(|(known, _)| *known == name) {
                long.push(format!("{name}: {lines} lines"));
            }
        }
    }
    assert!(long.is_empty(), "over 600 lines; split them, or say why not in LONG_FILES:\n{}", long.join("\n"));
}

fn documents() -> Vec<PathBuf> {
    let mut all = files("docs", "md");
    all.extend(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|f| workspace().join(f)));
    all
}

#[test]
fn paths_in_documents_exist() {
    let mut missing = Vec::new();
    for document in documents() {
        let Ok(text) = fs::read_to_string(&document) else {
            missing.push(relative(&document));
            continue;
        };
        let folder = document.parent().unwrap();
        for target in links(&text) {
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains("://") && !folder.join(path).exists() {
                missing.push(format!("{} links to {target}", relative(&document)));
            }
        }
        for quoted in text.split('`').skip(1).step_by(2) {
            let in_repository =
                ["docs/", "tests/", "runtime/", "macros/", "cargo-schemadiff/", "examples/", ".ci/"].iter();
            let plain = quoted.chars().all(|c| c.is_alphanumeric() || "/._-".contains(c));
            if plain && in_repository.clone().any(|p| quoted.starts_with(p)) && !workspace().join(quoted).exists() {
                missing.push(format!("{} names {quoted}", relative(&document)));
            }
        }
    }
    assert!(missing.is_empty(), "not there:\n{}", missing.join("\n"));
}

/// The targets of `[text](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|t| !t.contains(char::is_whitespace))
}

/// `"SD0501"` in the sources of the product.
fn codes_in_sources(is_code: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for folder in ["cargo-schemadiff/src", "runtime/src", "macros/src"] {
        for file in files(folder, "rs") {
            let mut literals = Vec::new();
            string_literals(&tokens(&file), &mut literals);
            codes.extend(literals.iter().map(|l| l.trim_matches('"').to_owned()).filter(|l| is_code(l)));
        }
    }
    codes
}

/// The first column of a document's tables.
fn codes_in_document(name: &str, is_code: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let text = fs::read_to_string(workspace().join(name)).unwrap_or_default();
    let first = |line: &str| Some(line.strip_prefix('|')?.split('|').next()?.trim().trim_matches('`').to_owned());
    text.lines().filter_map(first).filter(|code| is_code(code)).collect()
}

fn is_code(text: &str, prefix: &str, digits: usize) -> bool {
    text.strip_prefix(prefix).is_some_and(|d| d.len() == digits && d.bytes().all(|b| b.is_ascii_digit()))
}

#[test]
fn every_error_code_is_documented() {
    let is_error = |text: &str| is_code(text, "SD", 4);
    let (used, documented) = (codes_in_sources(is_error), codes_in_document("docs/errors.md", is_error));
    let undocumented: Vec<_> = used.difference(&documented).collect();
    let unused: Vec<_> = documented.difference(&used).collect();
    assert!(undocumented.is_empty(), "not in docs/errors.md: {undocumented:?}");
    assert!(unused.is_empty(), "in docs/errors.md, but no longer used: {unused:?}");
}

#[test]
fn every_hazard_is_documented() {
    let is_hazard = |text: &str| is_code(text, "H", 3);
    let (used, documented) = (codes_in_sources(is_hazard), codes_in_document("docs/hazards.md", is_hazard));
    let undocumented: Vec<_> = used.difference(&documented).collect();
    let unused: Vec<_> = documented.difference(&used).collect();
    assert!(undocumented.is_empty(), "not in docs/hazards.md: {undocumented:?}");
    assert!(unused.is_empty(), "in docs/hazards.md, but no longer used: {unused:?}");
}

/// `.ci/run` runs the README's second command: it must be the one that runs all tests.
#[test]
fn the_second_command_of_the_readme_runs_all_tests() {
    let text = fs::read_to_string(workspace().join("README.md")).unwrap();
    let mut commands = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside && !line.is_empty() && !line.starts_with('#') => commands.push(line),
            _ => {}
        }
    }
    assert_eq!(commands.get(1), Some(&"cargo test --workspace --locked"), "{commands:?}");
}
