//! `schemadiff::embed!("migrations")`: the files of a migrations directory as a value in the binary.

use std::path::{Path, PathBuf};

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Error, LitStr, Result};

const LOCK_FILE: &str = "schemadiff.lock";
const PLAN_FILE: &str = "plan.toml";

/// The expansion. The files are included by path, so an edit rebuilds; a new migration rewrites the lock file, so it
/// rebuilds too.
pub(crate) fn embed(input: TokenStream) -> Result<TokenStream> {
    let (given, span) = if input.is_empty() {
        ("migrations".to_owned(), Span::call_site())
    } else {
        let literal: LitStr = syn::parse2(input)?;
        (literal.value(), literal.span())
    };
    let root = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let dir = root.join(&given);
    let lock = dir.join(LOCK_FILE);
    if !dir.is_dir() {
        return Err(Error::new(
            span,
            format!(
                "there is no directory `{given}` in {}: write the first migration with `cargo schemadiff new NAME`, \
                 or name the directory relative to the package's Cargo.toml",
                root.display()
            ),
        ));
    }
    if !lock.is_file() {
        return Err(Error::new(
            span,
            format!(
                "`{given}` holds no `{LOCK_FILE}`: it is written by `cargo schemadiff new NAME` and belongs into version control"
            ),
        ));
    }
    let mut plans = Vec::new();
    for (name, file) in plans_in(&dir).map_err(|e| Error::new(span, format!("cannot read `{given}`: {e}")))? {
        let file = as_text(&file, span)?;
        plans.push(quote!((#name, ::core::include_str!(#file))));
    }
    let lock = as_text(&lock, span)?;
    Ok(quote!(::schemadiff::embed::Migrations::embedded(::core::include_str!(#lock), &[#(#plans),*])))
}

fn plans_in(dir: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let mut plans = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let file = entry.path().join(PLAN_FILE);
        if file.is_file() {
            plans.push((entry.file_name().to_string_lossy().into_owned(), file));
        }
    }
    plans.sort();
    Ok(plans)
}

fn as_text(path: &Path, span: Span) -> Result<String> {
    path.to_str()
        .map(ToOwned::to_owned)
        .ok_or_else(|| Error::new(span, format!("the path {} is not valid UTF-8", path.display())))
}
