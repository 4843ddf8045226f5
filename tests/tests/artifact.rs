//! Tables out of what cargo built: libraries, programs, other crates of a workspace, features, LTO and strip.

use std::{fs, path::PathBuf, process::Command};

use cargo_schemadiff::{
    Kind,
    project::{BuiltCrate, CrateSelection, TargetSelection, build_and_read, read_artifact},
};
use schemadiff::artifact::{MAGIC, TableDecl};
use schemadiff_tests::fixture::Fixture;

fn select(package: &str) -> CrateSelection {
    let fixture = Fixture::new("shop");
    CrateSelection {
        manifest_path: Some(fixture.manifest()),
        package: Some(package.into()),
        target_dir: Some(fixture.target_dir()),
        ..CrateSelection::default()
    }
}

fn read(selection: &CrateSelection) -> BuiltCrate {
    build_and_read(selection).unwrap_or_else(|error| panic!("{error}"))
}

fn names(tables: &[TableDecl]) -> Vec<&str> {
    tables.iter().map(|table| table.name.as_str()).collect()
}

fn run(program: &PathBuf) -> String {
    let out = Command::new(program).output().expect("the fixture runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

#[test]
fn a_program_has_the_tables_of_the_crates_it_uses() {
    let built = read(&select("fixture-app"));
    // `ghosts` is in a dependency that the program never names.
    assert_eq!(names(&built.tables), ["orders", "items"]);
    assert_eq!(built.package, "fixture-app");
    // The running program finds the same.
    assert_eq!(run(&built.path), "orders\nitems\n");
}

#[test]
fn aliases_newtypes_and_generics_are_resolved() {
    let built = read(&select("fixture-app"));
    let items = &built.tables[1];
    assert_eq!(items.rust, "fixture_models::Item");
    assert!(items.location.contains("models/src/lib.rs:"), "{}", items.location);
    let types: Vec<_> = items.columns.iter().map(|c| (c.name.as_str(), c.ty.postgres.as_str(), c.nullable)).collect();
    assert_eq!(
        types,
        [("id", "bigint", false), ("name", "text", false), ("state", "state", false), ("payload", "bytea", true)]
    );
}

#[test]
fn features_decide_what_there_is() {
    let built = read(&CrateSelection { features: vec!["audit".into()], ..select("fixture-app") });
    assert_eq!(names(&built.tables), ["orders", "audit", "items"]);
    assert_eq!(built.tables[2].columns.last().map(|c| c.name.as_str()), Some("changed_by"));
}

#[test]
fn a_stripped_program_with_lto_keeps_its_tables() {
    let built = read(&CrateSelection { release: true, ..select("fixture-app") });
    assert_eq!(names(&built.tables), ["orders", "items"]);
    assert!(built.path.components().any(|part| part.as_os_str() == "release"), "{}", built.path.display());
    assert_eq!(run(&built.path), "orders\nitems\n");
    // By path alone, as on a machine without cargo.
    let moved = built.path.with_file_name("fixture-app-moved");
    fs::copy(&built.path, &moved).expect("a copy");
    assert_eq!(read_artifact(&moved).unwrap_or_else(|e| panic!("{e}")), built.tables);
}

#[test]
fn a_program_that_never_reads_its_section_keeps_it_too() {
    for release in [false, true] {
        let one = CrateSelection { target: TargetSelection::Bin("one".into()), release, ..select("fixture-tools") };
        assert_eq!(names(&read(&one).tables), ["items"]);
        let seed =
            CrateSelection { target: TargetSelection::Example("seed".into()), release, ..select("fixture-tools") };
        assert_eq!(names(&read(&seed).tables), ["seeds"]);
    }
}

#[test]
fn a_library_has_its_own_tables_and_those_of_its_dependencies() {
    for release in [false, true] {
        let built = read(&CrateSelection { release, ..select("fixture-models") });
        assert_eq!(names(&built.tables), ["items"]);
        assert!(built.path.extension().is_some_and(|extension| extension == "rlib"));
    }
}

#[test]
fn a_librarys_features_choose_its_dependencies() {
    let chosen = |features: &[&str], no_default_features| {
        let features = features.iter().map(|feature| (*feature).to_owned()).collect();
        let built = read(&CrateSelection { features, no_default_features, ..select("fixture-catalog") });
        names(&built.tables).iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(chosen(&[], false), ["items"]);
    // The crate of this table knows schemadiff by another's name only.
    assert_eq!(chosen(&["extras"], true), ["extras"]);
    assert_eq!(chosen(&["extras"], false), ["extras", "items"]);
}

#[test]
fn a_program_with_schemadiff_and_no_table_links_and_says_so() {
    let error = build_and_read(&select("fixture-empty")).expect_err("there is no table");
    assert_eq!((error.kind, error.code), (Kind::Project, "SD0305"));
    assert!(error.to_string().contains("no struct in it derives"), "{error}");
    let error = build_and_read(&select("fixture-bare")).expect_err("there is no section");
    assert_eq!(error.code, "SD0305");
    assert!(error.to_string().contains("no section"), "{error}");
}

#[test]
fn a_crate_that_does_not_compile_is_shown_with_the_compilers_words() {
    let error = build_and_read(&select("fixture-broken")).expect_err("it does not compile");
    assert_eq!((error.kind, error.code), (Kind::Project, "SD0304"));
    let text = error.to_string();
    assert!(text.contains("cannot find type `Emial`"), "{text}");
    assert!(text.contains("broken/src/main.rs:6"), "{text}");
}

#[test]
fn an_ambiguous_choice_lists_the_candidates() {
    let error = build_and_read(&select("fixture-tools")).expect_err("two binaries");
    assert_eq!(error.code, "SD0303");
    assert!(error.to_string().contains("one, two"), "{error}");
    let none = CrateSelection { target: TargetSelection::Bin("three".into()), ..select("fixture-tools") };
    assert_eq!(build_and_read(&none).expect_err("no such binary").code, "SD0303");
    let error = build_and_read(&select("nobody")).expect_err("no such package");
    assert_eq!(error.code, "SD0302");
    let several = CrateSelection { package: None, ..select("") };
    let error = build_and_read(&several).expect_err("several packages");
    assert_eq!(error.code, "SD0302");
    assert!(error.to_string().contains("fixture-app, fixture-broken"), "{error}");
    let nowhere = CrateSelection { manifest_path: Some("/nowhere/Cargo.toml".into()), ..select("x") };
    assert_eq!(build_and_read(&nowhere).expect_err("no manifest").code, "SD0301");
}

#[test]
fn a_newer_format_and_a_damaged_section_are_told_apart() {
    let built = read(&select("fixture-app"));
    let bytes = fs::read(&built.path).expect("the program");
    let at = bytes.windows(MAGIC.len()).position(|window| window == MAGIC).expect("a record");
    // The first hit may be the magic that the program itself carries to read its section: take a whole record.
    let at = (at..bytes.len())
        .find(|at| bytes[*at..].starts_with(&MAGIC) && bytes[at + 8..].starts_with(&1_u32.to_le_bytes()))
        .expect("a record");
    let changed = |name: &str, change: &dyn Fn(&mut [u8])| {
        let mut bytes = bytes.clone();
        change(&mut bytes[at..]);
        let path = built.path.with_file_name(name);
        fs::write(&path, bytes).expect("a copy");
        read_artifact(&path).expect_err("it cannot be read")
    };
    let newer = changed("fixture-newer", &|record| record[8] = 99);
    assert_eq!((newer.kind, newer.code), (Kind::Project, "SD0307"));
    assert!(newer.to_string().contains("format 99"), "{newer}");
    assert!(newer.to_string().contains("update cargo-schemadiff"), "{newer}");
    assert_eq!(changed("fixture-damaged", &|record| record[16] = b'!').code, "SD0308");
    assert_eq!(changed("fixture-cut", &|record| record[12..16].fill(0xff)).code, "SD0308");
}

/// What the derive writes, for the programs of systems on which this test does not run.
fn section_of(tables: &[&str]) -> Vec<u8> {
    let record = |name: &&str| {
        let json = format!(r#"{{"format":1,"rust":"app::{name}","name":"{name}","columns":[]}}"#);
        let len = u32::try_from(json.len()).expect("a short text").to_le_bytes();
        // Linkers put zeros between the records.
        [MAGIC.as_slice(), &1_u32.to_le_bytes(), &len, json.as_bytes(), &[0; 5]].concat()
    };
    tables.iter().flat_map(record).collect()
}

fn object_file(
    format: object::BinaryFormat,
    machine: object::Architecture,
    name: [&str; 2],
    tables: &[&str],
) -> Vec<u8> {
    let mut file = object::write::Object::new(format, machine, object::Endianness::Little);
    let [segment, section] = name.map(|part| part.as_bytes().to_vec());
    let section = file.add_section(segment, section, object::SectionKind::Data);
    file.append_section_data(section, &section_of(tables), 1);
    file.write().expect("an object file")
}

#[test]
fn formats_of_other_systems_are_read() {
    use object::{
        Architecture::{Aarch64, X86_64},
        BinaryFormat::{Coff, MachO},
    };
    let folder = tempfile::tempdir().expect("a folder");
    let mac = ["__DATA", "__schemadiff"];
    let (intel, arm) =
        (object_file(MachO, X86_64, mac, &["orgs"]), object_file(MachO, Aarch64, mac, &["orgs", "users"]));
    // A universal file: the head, and where each of the programs is.
    let (first, second) = (64, 64 + intel.len());
    let number = |n: usize| u32::try_from(n).expect("a small number").to_be_bytes();
    let arch = |machine: u32, at: usize, size: usize| {
        [machine.to_be_bytes(), [0; 4], number(at), number(size), number(0)].concat()
    };
    let mut universal = [0xcafe_babe_u32.to_be_bytes(), number(2)].concat();
    universal.extend(arch(0x0100_000c, second, arm.len()));
    universal.extend(arch(0x0100_0007, first, intel.len()));
    universal.resize(first, 0);
    universal.extend([intel.as_slice(), &arm].concat());
    let windows = object_file(Coff, X86_64, ["", ".schmd$m"], &["orgs", "users"]);
    for (name, bytes, tables) in [
        ("intel", intel, vec!["orgs"]),
        ("arm", arm, vec!["orgs", "users"]),
        ("universal", universal, vec!["orgs", "users"]),
        ("windows", windows, vec!["orgs", "users"]),
        ("elsewhere", object_file(MachO, X86_64, ["__DATA", "__data"], &["orgs"]), vec![]),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("a file");
        match read_artifact(&path) {
            Ok(found) => assert_eq!(names(&found), tables, "{name}"),
            Err(error) => assert!(tables.is_empty() && error.code == "SD0305", "{name}: {error}"),
        }
    }
}

#[test]
fn what_is_no_program_is_refused() {
    let text = Fixture::new("shop").manifest();
    assert_eq!(read_artifact(&text).expect_err("text").code, "SD0306");
    assert_eq!(read_artifact("/nowhere".as_ref()).expect_err("nothing").code, "SD0306");
}

#[test]
fn an_application_that_only_derives_compiles_no_sqlx_and_no_tokio() {
    let fixture = Fixture::new("shop");
    let out = fixture
        .cargo()
        .args(["tree", "--package", "fixture-app", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
        .output()
        .expect("cargo runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let tree = String::from_utf8(out.stdout).expect("text");
    let packages: Vec<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(packages.contains(&"schemadiff"), "{tree}");
    for unwanted in ["sqlx", "sqlx-core", "tokio", "libsqlite3-sys", "chrono", "tracing"] {
        assert!(!packages.contains(&unwanted), "{unwanted} in\n{tree}");
    }
}
