//! `#[column_type(..)]`, as written.

use proc_macro2::Span;
use syn::{Attribute, Error, LitStr, Path};

use crate::{
    args,
    errors::{Errors, unknown},
    neighbours::{RENAME_ALL, RenameAll},
    table::{TypeAttr, ty},
};

/// On the type.
#[derive(Default)]
pub struct ColumnTypeAttrs {
    pub name: Option<LitStr>,
    pub schema: Option<LitStr>,
    pub renamed_from: Option<LitStr>,
    pub rename_all: Option<(Span, RenameAll)>,
    pub ty: Option<TypeAttr>,
    pub ty_span: Option<Span>,
    pub root: Option<Path>,
}

const KEYS: &[&str] = &["name", "schema", "rename_all", "renamed_from", "ty", "crate"];

pub fn container(attrs: &[Attribute], errors: &mut Errors) -> ColumnTypeAttrs {
    let mut out = ColumnTypeAttrs::default();
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("column_type")) {
        args::attribute(attr, errors, |key, input| match key.to_string().as_str() {
            "name" => args::once(&mut out.name, key, args::name(key, input)?),
            "schema" => args::once(&mut out.schema, key, args::name(key, input)?),
            "renamed_from" => args::once(&mut out.renamed_from, key, args::name(key, input)?),
            "crate" => args::once(&mut out.root, key, args::path(key, input, "path::to::schemadiff")?),
            "ty" => {
                out.ty_span = Some(key.span());
                args::once(&mut out.ty, key, ty(key, input)?)
            }
            "rename_all" => {
                let text = args::text(key, input)?;
                let rule = RENAME_ALL.iter().find(|(name, _)| *name == text.value()).map(|(_, rule)| *rule);
                let known: Vec<&str> = RENAME_ALL.iter().map(|(name, _)| *name).collect();
                let rule = rule.ok_or_else(|| {
                    let message = format!("no such case; write one of {}", crate::errors::list(&known));
                    Error::new(text.span(), message)
                })?;
                args::once(&mut out.rename_all, key, (key.span(), rule))
            }
            _ => Err(unknown(key, "#[column_type(..)]", KEYS)),
        });
    }
    out
}

/// On a variant.
#[derive(Default)]
pub struct VariantAttrs {
    pub rename: Option<LitStr>,
    /// The former label.
    pub renamed_from: Option<LitStr>,
}

impl VariantAttrs {
    /// Whatever is said of its label.
    pub fn any(&self) -> Option<&LitStr> {
        self.rename.as_ref().or(self.renamed_from.as_ref())
    }
}

pub fn variant(attrs: &[Attribute], errors: &mut Errors) -> VariantAttrs {
    let mut out = VariantAttrs::default();
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("column_type")) {
        args::attribute(attr, errors, |key, input| match key.to_string().as_str() {
            "rename" => args::once(&mut out.rename, key, args::name(key, input)?),
            "renamed_from" => args::once(&mut out.renamed_from, key, args::name(key, input)?),
            _ => Err(unknown(key, "#[column_type(..)]", &["rename", "renamed_from"])),
        });
    }
    out
}
