//! `#[table(..)]`, `#[column(..)]` and their long form, as written.

use proc_macro2::Span;
use syn::{Attribute, Error, Ident, LitStr, Path, Result, parse::ParseStream};

use super::lists::{self, CheckAttr, Defer, ForeignKeyAttr, IndexAttr, KeyAttr, PartitionAttr, TargetAttr, UniqueAttr};
use crate::{
    args,
    errors::{Errors, unknown},
};

/// Keys of `#[table(..)]`.
pub const TABLE_KEYS: &[&str] = &[
    "name",
    "schema",
    "primary_key",
    "no_primary_key",
    "unique",
    "check",
    "index",
    "foreign_key",
    "comment",
    "renamed_from",
    "strict",
    "without_rowid",
    "unlogged",
    "partition_by",
    "partition",
    "crate",
];

/// Keys of `#[column(..)]`.
pub const COLUMN_KEYS: &[&str] = &[
    "name",
    "ty",
    "primary_key",
    "identity",
    "default",
    "unique",
    "check",
    "references",
    "on_delete",
    "on_update",
    "deferrable",
    "index",
    "generated",
    "collation",
    "comment",
    "renamed_from",
    "backfill",
    "backfill_with",
    "skip",
];

/// `#[table(..)]`.
#[derive(Default)]
pub struct TableAttrs {
    pub name: Option<LitStr>,
    pub schema: Option<LitStr>,
    pub primary_key: Option<KeyAttr>,
    pub no_primary_key: Option<Span>,
    pub uniques: Vec<UniqueAttr>,
    pub checks: Vec<CheckAttr>,
    pub indexes: Vec<IndexAttr>,
    pub foreign_keys: Vec<ForeignKeyAttr>,
    pub comment: Option<LitStr>,
    pub renamed_from: Option<LitStr>,
    pub strict: Option<Span>,
    pub without_rowid: Option<Span>,
    pub unlogged: Option<Span>,
    pub partition_by: Option<LitStr>,
    pub partitions: Vec<PartitionAttr>,
    pub root: Option<Path>,
}

/// `identity` in one of its forms, as it is written into the section.
pub type IdentityAttr = &'static str;

/// `generated`.
pub struct GeneratedAttr {
    pub span: Span,
    pub expr: LitStr,
    pub stored: bool,
}

/// `ty`: one spelling, or one an engine.
pub struct TypeAttr {
    pub postgres: String,
    pub mysql: String,
    pub sqlite: String,
}

/// `#[column(..)]`.
#[derive(Default)]
pub struct ColumnAttrs {
    pub given: Option<Span>,
    pub name: Option<LitStr>,
    pub ty: Option<TypeAttr>,
    pub primary_key: Option<Span>,
    pub identity: Option<IdentityAttr>,
    pub default: Option<LitStr>,
    pub unique: Option<(Span, Option<LitStr>)>,
    pub checks: Vec<CheckAttr>,
    pub references: Option<TargetAttr>,
    pub on_delete: Option<(Span, &'static str)>,
    pub on_update: Option<(Span, &'static str)>,
    pub deferrable: Option<(Span, Defer)>,
    pub index: Option<(Span, Option<LitStr>)>,
    pub generated: Option<GeneratedAttr>,
    pub collation: Option<LitStr>,
    pub comment: Option<LitStr>,
    pub renamed_from: Option<LitStr>,
    pub backfill: Option<LitStr>,
    pub backfill_with: Option<LitStr>,
    pub skip: Option<Span>,
}

/// Whether the struct uses `#[schemadiff(..)]`; then the short forms belong to another derive.
pub fn uses_long_form<'a>(mut attrs: impl Iterator<Item = &'a Attribute>) -> bool {
    attrs.any(|attr| attr.path().is_ident("schemadiff"))
}

/// Calls `each` for every key of the short or the long form.
fn walk(
    attrs: &[Attribute],
    (what, known): (&'static str, &[&str]),
    long: bool,
    errors: &mut Errors,
    mut each: impl FnMut(&Ident, ParseStream<'_>) -> Result<()>,
) {
    let other = if what == "table" { "column" } else { "table" };
    for attr in attrs {
        if attr.path().is_ident("schemadiff") {
            args::attribute(attr, errors, |key, input| {
                if key == what {
                    args::nested(key, input, &mut each)
                } else if key == other {
                    let place = if what == "table" { "a field" } else { "the struct" };
                    Err(Error::new(key.span(), format!("`{key}(..)` belongs on {place}")))
                } else {
                    Err(unknown(key, "#[schemadiff(..)]", &[what]))
                }
            });
        } else if attr.path().is_ident(other) && !long {
            let place = if what == "table" { "a field" } else { "the struct" };
            errors
                .at(attr.pound_token.span, format!("`#[{other}(..)]` belongs on {place}; write `#[{what}(..)]` here"));
        } else if attr.path().is_ident(what) && !long {
            args::attribute(attr, errors, &mut each);
        } else if attr.path().is_ident(what) && is_ours(attr, known) {
            errors.push(Error::new_spanned(
                attr.path(),
                format!("`#[{what}(..)]` is not read on a struct that uses `#[schemadiff(..)]`; write `#[schemadiff({what}(..))]`"),
            ));
        }
    }
}

/// Whether every key of a short form is one of ours, so that it was most probably meant for us.
fn is_ours(attr: &Attribute, known: &[&str]) -> bool {
    let mut quiet = Errors::default();
    let mut ours = true;
    args::attribute(attr, &mut quiet, |key, input| {
        ours &= known.iter().any(|name| key == name);
        while !input.is_empty() && !input.peek(syn::Token![,]) {
            input.parse::<proc_macro2::TokenTree>()?;
        }
        Ok(())
    });
    ours && quiet.is_empty()
}

/// Where the crate is, also when something else is wrong.
pub fn root(attrs: &[Attribute]) -> Option<Path> {
    let mut told_already = Errors::default();
    table(attrs, uses_long_form(attrs.iter()), &mut told_already).root
}

pub fn table(attrs: &[Attribute], long: bool, errors: &mut Errors) -> TableAttrs {
    let mut out = TableAttrs::default();
    walk(attrs, ("table", TABLE_KEYS), long, errors, |key, input| table_key(&mut out, key, input));
    out
}

fn table_key(out: &mut TableAttrs, key: &Ident, input: ParseStream<'_>) -> Result<()> {
    match key.to_string().as_str() {
        "name" => args::once(&mut out.name, key, args::name(key, input)?),
        "schema" => args::once(&mut out.schema, key, args::name(key, input)?),
        "comment" => args::once(&mut out.comment, key, args::text(key, input)?),
        "renamed_from" => args::once(&mut out.renamed_from, key, args::name(key, input)?),
        "primary_key" => args::once(&mut out.primary_key, key, lists::primary_key(key, input)?),
        "no_primary_key" => args::mark(&mut out.no_primary_key, key, input),
        "strict" => args::mark(&mut out.strict, key, input),
        "without_rowid" => args::mark(&mut out.without_rowid, key, input),
        "unlogged" => args::mark(&mut out.unlogged, key, input),
        "partition_by" => args::once(&mut out.partition_by, key, args::text(key, input)?),
        "partition" => lists::partition(key, input).map(|it| out.partitions.push(it)),
        "crate" => args::once(&mut out.root, key, args::path(key, input, "path::to::schemadiff")?),
        "unique" => lists::unique(key, input).map(|it| out.uniques.push(it)),
        "check" => lists::check(key, input).map(|it| out.checks.push(it)),
        "index" => lists::index(key, input).map(|it| out.indexes.push(it)),
        "foreign_key" => lists::foreign_key(key, input).map(|it| out.foreign_keys.push(it)),
        _ => Err(unknown(key, "#[table(..)]", TABLE_KEYS)),
    }
}

pub fn column(attrs: &[Attribute], long: bool, errors: &mut Errors) -> ColumnAttrs {
    let mut out = ColumnAttrs::default();
    walk(attrs, ("column", COLUMN_KEYS), long, errors, |key, input| {
        if key != "skip" {
            out.given.get_or_insert(key.span());
        }
        column_key(&mut out, key, input)
    });
    out
}

fn column_key(out: &mut ColumnAttrs, key: &Ident, input: ParseStream<'_>) -> Result<()> {
    match key.to_string().as_str() {
        "name" => args::once(&mut out.name, key, args::name(key, input)?),
        "ty" => args::once(&mut out.ty, key, ty(key, input)?),
        "primary_key" => args::mark(&mut out.primary_key, key, input),
        "identity" => args::once(&mut out.identity, key, identity(key, input)?),
        "default" => args::once(&mut out.default, key, args::sql(key, input)?),
        "unique" => {
            let name = args::optional_name(key, input)?;
            args::once(&mut out.unique, key, (key.span(), name))
        }
        "check" => lists::check(key, input).map(|it| out.checks.push(it)),
        "references" => args::once(&mut out.references, key, lists::target(key, input)?),
        "on_delete" => args::once(&mut out.on_delete, key, (key.span(), lists::action(key, input)?)),
        "on_update" => args::once(&mut out.on_update, key, (key.span(), lists::action(key, input)?)),
        "deferrable" => args::once(&mut out.deferrable, key, (key.span(), lists::deferrable(key, input)?)),
        "index" => {
            let name = args::optional_name(key, input)?;
            args::once(&mut out.index, key, (key.span(), name))
        }
        "generated" => args::once(&mut out.generated, key, generated(key, input)?),
        "collation" => args::once(&mut out.collation, key, args::name(key, input)?),
        "comment" => args::once(&mut out.comment, key, args::text(key, input)?),
        "renamed_from" => args::once(&mut out.renamed_from, key, args::name(key, input)?),
        "backfill" => args::once(&mut out.backfill, key, args::sql(key, input)?),
        "backfill_with" => args::once(&mut out.backfill_with, key, args::call(key, input)?),
        "skip" => args::mark(&mut out.skip, key, input),
        _ => Err(unknown(key, "#[column(..)]", COLUMN_KEYS)),
    }
}

pub fn ty(key: &Ident, input: ParseStream<'_>) -> Result<TypeAttr> {
    if !input.peek(syn::token::Paren) {
        let one = args::name(key, input)?.value();
        return Ok(TypeAttr { postgres: one.clone(), mysql: one.clone(), sqlite: one });
    }
    const ENGINES: &[&str] = &["postgres", "mysql", "sqlite"];
    let mut spellings: [Option<LitStr>; 3] = [None, None, None];
    args::nested(key, input, |engine, input| match ENGINES.iter().position(|name| engine == name) {
        Some(at) => args::once(&mut spellings[at], engine, args::name(engine, input)?),
        None => Err(unknown(engine, "ty(..)", ENGINES)),
    })?;
    let [postgres, mysql, sqlite] = spellings.map(|text| text.map(|text| text.value()).unwrap_or_default());
    Ok(TypeAttr { postgres, mysql, sqlite })
}

fn identity(key: &Ident, input: ParseStream<'_>) -> Result<IdentityAttr> {
    const FORMS: [(&str, &str); 4] =
        [("by_default", "by_default"), ("always", "always"), ("serial", "serial"), ("autoincrement", "autoincrement")];
    let form = if input.peek(syn::Token![=]) {
        args::choice(key, input, &FORMS)?
    } else {
        args::flag(key, input)?;
        "by_default"
    };
    Ok(form)
}

fn generated(key: &Ident, input: ParseStream<'_>) -> Result<GeneratedAttr> {
    let span = key.span();
    if !input.peek(syn::token::Paren) {
        return Ok(GeneratedAttr { span, expr: args::text(key, input)?, stored: true });
    }
    let (mut expr, mut virtual_, mut stored) = (None, None, None);
    args::nested(key, input, |key, input| match key.to_string().as_str() {
        "expr" => args::once(&mut expr, key, args::text(key, input)?),
        "virtual" => args::mark(&mut virtual_, key, input),
        "stored" => args::mark(&mut stored, key, input),
        _ => Err(unknown(key, "generated(..)", &["expr", "virtual", "stored"])),
    })?;
    let expr = expr.ok_or_else(|| Error::new(span, "write `generated(expr = \"..\")`"))?;
    if let (Some(at), Some(_)) = (virtual_, stored) {
        return Err(Error::new(at, "a generated column is either `virtual` or `stored`"));
    }
    Ok(GeneratedAttr { span, expr, stored: virtual_.is_none() })
}
