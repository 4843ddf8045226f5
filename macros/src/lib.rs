//! Derive macros of schemadiff. Use them through the `schemadiff` crate, which re-exports them.
//!
//! `#[derive(Table)]` goes through four stages: the attributes are read (`attrs` in `table`, and `neighbours` for those
//! of sqlx and Diesel), names and keys are resolved and checked (`resolve`), and code is written (`expand`). Mistakes are
//! collected on the way, each at its own token; when there are any, a stub takes the place of the code, so that nothing
//! else fails because of them.

mod args;
mod column_type;
#[cfg(test)]
mod conflicts;
mod embed;
mod errors;
mod neighbours;
mod table;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a struct with named fields a table of the schema.
///
/// See the attribute reference in `docs/derive.md` of the repository.
#[proc_macro_derive(Table, attributes(table, column, schemadiff))]
pub fn derive_table(input: TokenStream) -> TokenStream {
    table::derive(&parse_macro_input!(input as DeriveInput)).into()
}

/// Makes a newtype or an enum without fields a column type.
///
/// See the attribute reference in `docs/derive.md` of the repository.
#[proc_macro_derive(ColumnType, attributes(column_type))]
pub fn derive_column_type(input: TokenStream) -> TokenStream {
    column_type::derive(&parse_macro_input!(input as DeriveInput)).into()
}

/// Puts a migrations directory into the binary, as a `schemadiff::embed::Migrations` that can be a `static`.
///
/// `embed!("migrations")`; the path is relative to the package's `Cargo.toml`, and `migrations` is the default.
/// Where `schemadiff` is reached through another crate: `embed!("migrations", crate = platform::schemadiff)`.
#[proc_macro]
pub fn embed(input: TokenStream) -> TokenStream {
    embed::embed(input.into()).unwrap_or_else(|error| error.to_compile_error()).into()
}
