//! Reading the link section of a file, without running it.

use std::path::Path;

use object::{
    Object, ObjectSection,
    read::{
        archive::ArchiveFile,
        macho::{FatArch, MachOFatFile32, MachOFatFile64},
    },
};
use schemadiff::artifact::{SECTION_NAMES, SectionError, TableDecl, parse_section};

use crate::{Error, Kind, Result};

/// The tables in an executable, a shared library, an object file or a Rust library.
///
/// # Errors
/// [`Kind::Project`] when the file cannot be read, is none of these, has no table, or is of a newer format.
pub fn read_artifact(path: &Path) -> Result<Vec<TableDecl>> {
    let tables = match read_file(path)? {
        Some(tables) if !tables.is_empty() => return Ok(tables),
        tables => tables,
    };
    let cause = match tables {
        Some(_) => "it is linked with schemadiff, but no struct in it derives `schemadiff::Table`",
        None => "it has no section that schemadiff's derive writes",
    };
    Err(Error::new(Kind::Project, "SD0305", format!("no table found in {}", path.display()))
        .cause(cause)
        .help("derive `schemadiff::Table` on the structs, in a crate that the program uses (`use models as _;` is enough)")
        .help("check that this is the file that holds them"))
}

/// The tables of a file; `None` when it has no section of ours.
pub(super) fn read_file(path: &Path) -> Result<Option<Vec<TableDecl>>> {
    let name = path.display();
    let bytes = std::fs::read(path).map_err(|error| {
        Error::new(Kind::Project, "SD0306", format!("cannot read {name}"))
            .cause(error)
            .help("name a built executable or library")
    })?;
    let mut tables = None;
    if let Ok(archive) = ArchiveFile::parse(&*bytes) {
        for member in archive.members() {
            let data = member.and_then(|member| member.data(&*bytes)).map_err(|error| unreadable(path, &error))?;
            // A Rust library also holds metadata, which is no object file.
            if let Ok(file) = object::File::parse(data) {
                read_sections(path, &file, &mut tables)?;
            }
        }
    } else {
        let image = thin(&bytes);
        let file = object::File::parse(image).map_err(|error| unreadable(path, &error))?;
        read_sections(path, &file, &mut tables)?;
    }
    if let Some(tables) = &mut tables {
        tables.sort_by(|a: &TableDecl, b| a.rust.cmp(&b.rust));
    }
    Ok(tables)
}

fn unreadable(path: &Path, error: &object::Error) -> Error {
    Error::new(Kind::Project, "SD0306", format!("{} is no executable or library", path.display()))
        .cause(error)
        .help("name what cargo built, for example target/release/app")
}

/// The first architecture of a universal Mach-O file; every other file as it is.
fn thin(bytes: &[u8]) -> &[u8] {
    fn first<F: FatArch>(arches: &[F], bytes: &[u8]) -> Option<std::ops::Range<usize>> {
        let (offset, size) = arches.first()?.file_range();
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(usize::try_from(size).ok()?)?;
        (end <= bytes.len()).then_some(start..end)
    }
    let range = match object::FileKind::parse(bytes) {
        Ok(object::FileKind::MachOFat32) => {
            MachOFatFile32::parse(bytes).ok().and_then(|fat| first(fat.arches(), bytes))
        }
        Ok(object::FileKind::MachOFat64) => {
            MachOFatFile64::parse(bytes).ok().and_then(|fat| first(fat.arches(), bytes))
        }
        _ => None,
    };
    range.map_or(bytes, |range| &bytes[range])
}

fn read_sections(path: &Path, file: &object::File<'_>, tables: &mut Option<Vec<TableDecl>>) -> Result<()> {
    for section in file.sections() {
        // In an object file a PE section still has the part of its name that the linker sorts by.
        let is_ours = section.name().is_ok_and(|name| {
            let name = name.split('$').next().unwrap_or(name);
            SECTION_NAMES.contains(&name)
        });
        if is_ours {
            let data = section.data().map_err(|error| unreadable(path, &error))?;
            let found = parse_section(data).map_err(|error| section_error(path, &error))?;
            tables.get_or_insert_default().extend(found);
        }
    }
    Ok(())
}

fn section_error(path: &Path, error: &SectionError) -> Error {
    let effect = format!("cannot read the tables of {}", path.display());
    match error {
        SectionError::Newer { .. } => Error::new(Kind::Project, "SD0307", effect)
            .cause(error)
            .help("update cargo-schemadiff to the version of the `schemadiff` crate in that program"),
        SectionError::Damaged { .. } => {
            Error::new(Kind::Project, "SD0308", effect).cause(error).help("build the program again")
        }
    }
}
