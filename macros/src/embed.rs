//! `schemadiff::embed!("migrations")`: the files of a migrations directory as a value in the binary.

use std::path::{Path as File, PathBuf};

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens as _, quote};
use syn::{
    Error, LitStr, Path, Result, Token,
    parse::{Parse, ParseStream},
};

const LOCK_FILE: &str = "schemadiff.lock";
const PLAN_FILE: &str = "plan.toml";

/// What stands in the parentheses: `"migrations"`, `crate = path`, both, or nothing.
struct Given {
    dir: String,
    span: Span,
    schemadiff: TokenStream,
}

impl Parse for Given {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut given =
            Self { dir: "migrations".to_owned(), span: Span::call_site(), schemadiff: quote!(::schemadiff) };
        if input.peek(LitStr) {
            let literal: LitStr = input.parse()?;
            (given.dir, given.span) = (literal.value(), literal.span());
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        if input.peek(Token![crate]) {
            input.parse::<Token![crate]>()?;
            input.parse::<Token![=]>()?;
            given.schemadiff = input.call(Path::parse_mod_style)?.to_token_stream();
            if input.peek(Token![,]) {
                input.parse::<Token![,]>()?;
            }
        }
        if input.is_empty() {
            return Ok(given);
        }
        Err(input.error("write embed!(\"DIRECTORY\") or embed!(\"DIRECTORY\", crate = path::to::schemadiff)"))
    }
}

/// The expansion. The files are included by path, so an edit rebuilds; a new migration rewrites the lock file, so it
/// rebuilds too.
pub(crate) fn embed(input: TokenStream) -> Result<TokenStream> {
    let Given { dir: given, span, schemadiff } = syn::parse2(input)?;
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
    Ok(quote!(#schemadiff::embed::Migrations::embedded(::core::include_str!(#lock), &[#(#plans),*])))
}

fn plans_in(dir: &File) -> std::io::Result<Vec<(String, PathBuf)>> {
    let mut plans = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let file = entry.path().join(PLAN_FILE);
        let name = entry.file_name().to_string_lossy().into_owned();
        // Names with a leading dot are being written, or were when their writer was killed.
        if file.is_file() && !name.starts_with('.') {
            plans.push((name, file));
        }
    }
    plans.sort();
    Ok(plans)
}

fn as_text(path: &File, span: Span) -> Result<String> {
    path.to_str()
        .map(ToOwned::to_owned)
        .ok_or_else(|| Error::new(span, format!("the path {} is not valid UTF-8", path.display())))
}
