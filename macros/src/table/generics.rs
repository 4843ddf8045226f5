//! Generic parameters. A table is one concrete struct: lifetimes become `'static`, other parameters their defaults.

use proc_macro2::{Group, Ident, Spacing, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{DeriveInput, GenericParam};

use crate::errors::Errors;

/// The parameters of the struct, made concrete.
#[derive(Default)]
pub struct Concrete {
    /// `<'_, T, N>` after the struct's name.
    pub arguments: TokenStream,
    /// `type T = ..; const N: usize = ..;` for the place where types are named.
    pub aliases: TokenStream,
    lifetimes: Vec<String>,
}

impl Concrete {
    /// A type of the struct's fields, as it can be written outside of the struct.
    pub fn ty(&self, ty: &impl ToTokens) -> TokenStream {
        let tokens = ty.to_token_stream();
        if self.lifetimes.is_empty() { tokens } else { self.without_lifetimes(tokens) }
    }

    fn without_lifetimes(&self, tokens: TokenStream) -> TokenStream {
        let mut quote_seen = false;
        tokens
            .into_iter()
            .map(|token| {
                let after_quote = std::mem::replace(&mut quote_seen, false);
                match token {
                    TokenTree::Punct(punct) => {
                        quote_seen = punct.as_char() == '\'' && punct.spacing() == Spacing::Joint;
                        TokenTree::Punct(punct)
                    }
                    TokenTree::Ident(ident) if after_quote && self.lifetimes.iter().any(|name| ident == name) => {
                        TokenTree::Ident(Ident::new("static", ident.span()))
                    }
                    TokenTree::Group(group) => {
                        let mut inner = Group::new(group.delimiter(), self.without_lifetimes(group.stream()));
                        inner.set_span(group.span());
                        TokenTree::Group(inner)
                    }
                    other => other,
                }
            })
            .collect()
    }
}

/// Makes the parameters concrete; one without a default is a mistake.
pub fn concrete(input: &DeriveInput, errors: &mut Errors) -> Concrete {
    let mut out = Concrete::default();
    let mut arguments = Vec::new();
    for param in &input.generics.params {
        match param {
            GenericParam::Lifetime(param) => {
                out.lifetimes.push(param.lifetime.ident.to_string());
                arguments.push(quote!('static));
            }
            GenericParam::Type(param) => {
                let ident = &param.ident;
                match &param.default {
                    Some((_, ty)) => out.aliases.extend(quote!(#[allow(dead_code)] type #ident = #ty;)),
                    None => {
                        errors.at(ident.span(), missing_default(&input.ident, ident));
                        out.aliases.extend(quote!(#[allow(dead_code)] type #ident = ();));
                    }
                }
                arguments.push(quote!(#ident));
            }
            GenericParam::Const(param) => {
                let (ident, ty) = (&param.ident, &param.ty);
                match &param.default {
                    Some((_, value)) => out.aliases.extend(quote!(#[allow(dead_code)] const #ident: #ty = #value;)),
                    None => errors.at(ident.span(), missing_default(&input.ident, ident)),
                }
                arguments.push(quote!(#ident));
            }
        }
    }
    if !arguments.is_empty() {
        out.arguments = quote!(<#(#arguments),*>);
    }
    out
}

fn missing_default(table: &Ident, param: &Ident) -> String {
    format!(
        "a table is one concrete struct: give `{param}` a default (`struct {table}<{param} = ..>`), which is what the table has, or write a struct a table"
    )
}
