//! What sqlx's and Diesel's attributes say about names. Their mistakes are theirs to report.

use heck::{ToKebabCase, ToLowerCamelCase, ToShoutySnakeCase, ToSnakeCase, ToUpperCamelCase};
use proc_macro2::{Span, TokenStream, TokenTree};
use syn::{Attribute, Ident, LitStr, Path, Result, Token, Type, ext::IdentExt, parenthesized, parse::ParseStream};

/// `rename_all`, done exactly as sqlx does it, with the same crate.
#[derive(Clone, Copy)]
pub enum RenameAll {
    Lower,
    Snake,
    Upper,
    ScreamingSnake,
    Kebab,
    Camel,
    Pascal,
}

/// Spellings of [`RenameAll`].
pub const RENAME_ALL: [(&str, RenameAll); 7] = [
    ("lowercase", RenameAll::Lower),
    ("snake_case", RenameAll::Snake),
    ("UPPERCASE", RenameAll::Upper),
    ("SCREAMING_SNAKE_CASE", RenameAll::ScreamingSnake),
    ("kebab-case", RenameAll::Kebab),
    ("camelCase", RenameAll::Camel),
    ("PascalCase", RenameAll::Pascal),
];

impl RenameAll {
    pub fn apply(self, name: &str) -> String {
        match self {
            Self::Lower => name.to_lowercase(),
            Self::Snake => name.to_snake_case(),
            Self::Upper => name.to_uppercase(),
            Self::ScreamingSnake => name.to_shouty_snake_case(),
            Self::Kebab => name.to_kebab_case(),
            Self::Camel => name.to_lower_camel_case(),
            Self::Pascal => name.to_upper_camel_case(),
        }
    }
}

/// `#[sqlx(..)]` on a struct or enum.
#[derive(Default)]
pub struct SqlxContainer {
    pub rename_all: Option<RenameAll>,
    pub type_name: Option<LitStr>,
}

/// `#[sqlx(..)]` on a field or variant.
#[derive(Default)]
pub struct SqlxField {
    pub rename: Option<LitStr>,
    pub skip: Option<Span>,
    pub flatten: Option<Span>,
    /// `json`, and whether it is `json(nullable)`.
    pub json: Option<bool>,
    pub try_from: Option<Type>,
}

/// `#[diesel(..)]` on a struct.
#[derive(Default)]
pub struct DieselContainer {
    /// The last segment of `table_name`.
    pub table_name: Option<Ident>,
    pub primary_key: Option<Vec<Ident>>,
}

/// `#[diesel(..)]` on a field.
#[derive(Default)]
pub struct DieselField {
    pub column_name: Option<(String, Span)>,
    pub embed: Option<Span>,
}

/// Walks the keys of all attributes of one name, and ends quietly at what it does not understand.
fn each_key(attrs: &[Attribute], name: &str, mut each: impl FnMut(&Ident, ParseStream<'_>) -> Result<()>) {
    for attr in attrs.iter().filter(|attr| attr.path().is_ident(name)) {
        let _ = attr.parse_args_with(|input: ParseStream<'_>| {
            while !input.is_empty() {
                let key = input.call(Ident::parse_any)?;
                each(&key, input)?;
                while !input.is_empty() && !input.peek(Token![,]) {
                    input.parse::<TokenTree>()?;
                }
                input.parse::<Option<Token![,]>>()?;
            }
            Ok(())
        });
    }
}

fn value<T: syn::parse::Parse>(input: ParseStream<'_>) -> Result<T> {
    input.parse::<Token![=]>()?;
    input.parse()
}

pub fn sqlx_container(attrs: &[Attribute]) -> SqlxContainer {
    let mut out = SqlxContainer::default();
    each_key(attrs, "sqlx", |key, input| {
        match key.to_string().as_str() {
            "rename_all" => {
                let text = value::<LitStr>(input)?.value();
                out.rename_all = RENAME_ALL.iter().find(|(name, _)| *name == text).map(|(_, rule)| *rule);
            }
            "type_name" => out.type_name = Some(value(input)?),
            _ => {}
        }
        Ok(())
    });
    out
}

pub fn sqlx_field(attrs: &[Attribute]) -> SqlxField {
    let mut out = SqlxField::default();
    each_key(attrs, "sqlx", |key, input| {
        match key.to_string().as_str() {
            "rename" => out.rename = Some(value(input)?),
            "skip" => out.skip = Some(key.span()),
            "flatten" => out.flatten = Some(key.span()),
            "json" => out.json = Some(input.peek(syn::token::Paren)),
            "try_from" => out.try_from = value::<LitStr>(input)?.parse().ok(),
            _ => {}
        }
        Ok(())
    });
    out
}

pub fn diesel_container(attrs: &[Attribute]) -> DieselContainer {
    let mut out = DieselContainer::default();
    each_key(attrs, "diesel", |key, input| {
        match key.to_string().as_str() {
            "table_name" => out.table_name = value::<Path>(input)?.segments.last().map(|s| s.ident.clone()),
            "primary_key" => {
                let content;
                parenthesized!(content in input);
                let keys = content.parse_terminated(Ident::parse_any, Token![,])?;
                out.primary_key = Some(keys.into_iter().collect());
            }
            _ => {}
        }
        Ok(())
    });
    out
}

pub fn diesel_field(attrs: &[Attribute]) -> DieselField {
    let mut out = DieselField::default();
    each_key(attrs, "diesel", |key, input| {
        match key.to_string().as_str() {
            "column_name" => {
                input.parse::<Token![=]>()?;
                out.column_name = Some(if input.peek(LitStr) {
                    let text: LitStr = input.parse()?;
                    (text.value(), text.span())
                } else {
                    let ident = input.call(Ident::parse_any)?;
                    (ident.unraw().to_string(), ident.span())
                });
            }
            "embed" => out.embed = Some(key.span()),
            _ => {}
        }
        Ok(())
    });
    out
}

/// The integer type of `#[repr(..)]`, which makes sqlx store an enum's numbers.
pub fn repr(attrs: &[Attribute]) -> Option<Ident> {
    let integers = ["i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "isize", "usize"];
    attrs.iter().filter(|attr| attr.path().is_ident("repr")).find_map(|attr| {
        let tokens: TokenStream = attr.parse_args().ok()?;
        tokens.into_iter().find_map(|token| match token {
            TokenTree::Ident(ident) if integers.iter().any(|name| ident == name) => Some(ident),
            _ => None,
        })
    })
}
