//! `#[derive(Table)]`.

mod attrs;
mod expand;
mod generics;
pub mod json;
mod lists;
mod partitioning;
mod resolve;

use proc_macro2::TokenStream;
use syn::DeriveInput;

pub use attrs::{TypeAttr, ty};

use crate::errors::Errors;

/// The derive.
pub fn derive(input: &DeriveInput) -> TokenStream {
    let mut errors = Errors::default();
    let concrete = generics::concrete(input, &mut errors);
    match (resolve::resolve(input, &mut errors), errors.is_empty()) {
        (Some(table), true) => expand::expand(input, &table, &concrete),
        _ => {
            let stub = expand::stub(input, &concrete, attrs::root(&input.attrs).as_ref());
            let errors = errors.into_compile_errors();
            quote::quote!(#errors #stub)
        }
    }
}
