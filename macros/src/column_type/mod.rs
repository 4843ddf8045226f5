//! `#[derive(ColumnType)]`: newtypes and enums without fields.

mod attrs;
mod names;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Data, DataEnum, DataStruct, DeriveInput, LitStr, ext::IdentExt, spanned::Spanned};

use crate::{errors::Errors, neighbours, table::json::Json};
use attrs::ColumnTypeAttrs;

/// The derive.
pub fn derive(input: &DeriveInput) -> TokenStream {
    let mut errors = Errors::default();
    let attrs = attrs::container(&input.attrs, &mut errors);
    let body = match &input.data {
        Data::Struct(data) => newtype(input, data, &attrs, &mut errors),
        Data::Enum(data) => enumeration(input, data, &attrs, &mut errors),
        Data::Union(_) => {
            errors.at(input.ident.span(), "a column type is a newtype or an enum without fields");
            None
        }
    };
    let private = match &attrs.root {
        Some(path) => quote!(#path::__private),
        None => quote!(::schemadiff::__private),
    };
    // In place of a type with mistakes, so that the tables that use it do not fail because of them.
    let stub = Body { ty: quote!(TypeDesc::named("", "", "", true)), bound: None };
    let (body, errors) = match body {
        Some(body) if errors.is_empty() => (body, None),
        _ => (stub, Some(errors.into_compile_errors())),
    };
    let (ident, ty) = (&input.ident, &body.ty);
    let (generics, arguments, clause) = input.generics.split_for_impl();
    let clause = match (clause, &body.bound) {
        (clause, None) => clause.to_token_stream(),
        (None, Some(bound)) => quote!(where #bound),
        (Some(clause), Some(bound)) => {
            let clause = clause.predicates.iter();
            quote!(where #(#clause,)* #bound)
        }
    };
    quote! {
        #errors
        const _: () = {
            #[allow(unused_imports)]
            use #private::{ColumnType, TypeDesc};
            #[automatically_derived]
            impl #generics ColumnType for #ident #arguments #clause {
                const TYPE: TypeDesc = #ty;
            }
        };
    }
}

struct Body {
    ty: TokenStream,
    bound: Option<TokenStream>,
}

fn newtype(input: &DeriveInput, data: &DataStruct, attrs: &ColumnTypeAttrs, errors: &mut Errors) -> Option<Body> {
    for (span, key) in [
        (attrs.name.as_ref().map(|it| it.span()), "name"),
        (attrs.schema.as_ref().map(|it| it.span()), "schema"),
        (attrs.rename_all.map(|it| it.0), "rename_all"),
        (attrs.renamed_from.as_ref().map(|it| it.span()), "renamed_from"),
    ] {
        if let Some(span) = span {
            errors.at(
                span,
                format!("`{key}` is for enums; the type of a newtype is named by `ty`, or is that of its field"),
            );
        }
    }
    let mut fields = data.fields.iter();
    let (Some(field), None) = (fields.next(), fields.next()) else {
        let message = "a column type has exactly one field; for several columns derive `schemadiff::Table`, for another type write `#[column(ty = \"..\")]` where it is used";
        errors.at(input.ident.span(), message);
        return None;
    };
    for attr in field.attrs.iter().filter(|attr| attr.path().is_ident("column_type")) {
        errors.at(
            attr.path().span(),
            "the type of a newtype is named on the struct: `#[column_type(ty = \"..\")]` above it",
        );
    }
    let type_name = neighbours::sqlx_container(&input.attrs).type_name;
    let (ty, span) = (&field.ty, field.ty.span());
    let bound = (!input.generics.params.is_empty()).then(|| quote!(#ty: ColumnType));
    if let Some(ty) = &attrs.ty {
        let (postgres, mysql, sqlite) = (&ty.postgres, &ty.mysql, &ty.sqlite);
        return Some(Body { ty: quote!(TypeDesc::new(#postgres, #mysql, #sqlite)), bound: None });
    }
    if let Some(name) = type_name {
        // sqlx asks PostgreSQL for a type of that name; the other engines store the field.
        return Some(Body { ty: quote_spanned!(span=> <#ty as ColumnType>::TYPE.on_postgres(#name)), bound });
    }
    Some(Body { ty: quote_spanned!(span=> <#ty as ColumnType>::TYPE), bound })
}

fn enumeration(input: &DeriveInput, data: &DataEnum, attrs: &ColumnTypeAttrs, errors: &mut Errors) -> Option<Body> {
    if let Some(span) = attrs.ty_span {
        errors.at(span, "`ty` is for newtypes; the type of an enum is named by `name`");
    }
    for variant in &data.variants {
        if !variant.fields.is_empty() {
            let message =
                format!("variant `{}` has fields: only an enum without fields can be a column", variant.ident);
            errors.at(variant.ident.span(), message);
        }
    }
    if data.variants.is_empty() {
        errors.at(input.ident.span(), "an enum without variants has no value to store");
    }
    let sqlx = neighbours::sqlx_container(&input.attrs);
    if let (None, None, Some(repr)) = (&attrs.name, &sqlx.type_name, neighbours::repr(&input.attrs)) {
        let span = repr.span();
        if let (Some((at, _)), true) = (&attrs.rename_all, errors.is_empty()) {
            errors.at(*at, "an enum with `repr` is stored as numbers, which have no names: remove one of the two");
        }
        if let Some(schema) = &attrs.schema {
            errors.at(schema.span(), "an enum with `repr` is stored as numbers and is no type of a schema: remove it");
        }
        if let Some(old) = &attrs.renamed_from {
            errors.at(old.span(), "an enum with `repr` is stored as numbers and is no type that had a name: remove it");
        }
        for variant in &data.variants {
            if let Some(label) = attrs::variant(&variant.attrs, errors).any() {
                errors.at(label.span(), "an enum with `repr` is stored as numbers, which have no names: remove it");
            }
        }
        let signed = match repr.to_string().as_str() {
            "i16" | "i32" | "i64" => None,
            "i8" | "u8" => Some("i16"),
            "u16" => Some("i32"),
            _ => Some("i64"),
        };
        if let Some(signed) = signed {
            errors.at(span, format!("no engine has numbers of type `{repr}` in columns: write `#[repr({signed})]`"));
            return None;
        }
        return Some(Body { ty: quote_spanned!(span=> <#repr as ColumnType>::TYPE), bound: None });
    }
    let Some((span, schema, name)) = type_name(attrs, sqlx.type_name.as_ref(), errors) else {
        // Whoever made another mistake may have tried to name it.
        if errors.is_empty() {
            let message =
                "the enum has no type name: write `#[column_type(name = \"..\")]`, or `#[repr(i32)]` to store numbers";
            errors.at(input.ident.span(), message);
        }
        return None;
    };
    if schema.is_none() && names::is_built_in(&name.to_lowercase()) {
        let message = format!(
            "`{name}` is a type of PostgreSQL's own, which columns would get in place of the enum: give it another name; where the \
             labels are stored as texts, write `#[column(ty = \"text\")]` on the fields instead"
        );
        errors.at(span, message);
    }
    let labels = labels(data, attrs, sqlx.rename_all, errors);
    let renamed = former_labels(data, &labels, errors);
    let mut json = Json::default();
    json.raw("{\"name\":").string(&name).word_field("schema", schema.as_deref());
    json.raw(",\"values\":").list(&labels, |json, label| {
        json.string(label);
    });
    json.text_field("renamed_from", attrs.renamed_from.as_ref());
    json.raw(",\"renamed_values\":").list(&renamed, |json, (from, to)| {
        json.raw("{\"from\":").string(from).raw(",\"to\":").string(to).raw("}");
    });
    json.raw("}");
    let text = json.into_text();
    let spelled = schema.iter().chain([&name]).map(|part| names::quoted(part)).collect::<Vec<_>>().join(".");
    Some(Body { ty: quote!(TypeDesc::enumeration(#spelled, #text)), bound: None })
}

/// Where an enum's type is named, its schema and its name, by us and by sqlx.
fn type_name(
    attrs: &ColumnTypeAttrs,
    sqlx: Option<&LitStr>,
    errors: &mut Errors,
) -> Option<(Span, Option<String>, String)> {
    let given = attrs.schema.as_ref().map(|it| (it.span(), it.value()));
    let theirs = sqlx.map(|it| (it.span(), names::by_sqlx(&it.value())));
    let ours = attrs.name.as_ref().map(|it| {
        let name = it.value();
        let (schema, name) = match name.split_once('.') {
            Some((schema, name)) if given.is_none() => (Some(schema.to_owned()), name.to_owned()),
            _ => (None, name),
        };
        (it.span(), (schema, name))
    });
    let (span, (schema, name)) = ours.or_else(|| theirs.clone())?;
    let schema = given.as_ref().map(|(_, schema)| schema.clone()).or(schema);
    if let Some((_, (their_schema, their_name))) = theirs {
        // Without a schema, sqlx finds the type by the search path.
        let differs = their_name != name || their_schema.as_ref().is_some_and(|it| schema.as_ref() != Some(it));
        if differs {
            let spelled = |schema: &Option<String>, name: &str| {
                schema.as_ref().map_or_else(|| name.to_owned(), |schema| format!("{schema}.{name}"))
            };
            let (ours, theirs) = (spelled(&schema, &name), spelled(&their_schema, &their_name));
            let at = attrs.name.as_ref().map_or_else(|| given.map_or(span, |it| it.0), |it| it.span());
            errors.at(
                at,
                format!("the type is \"{ours}\" here and \"{theirs}\" in `#[sqlx(type_name)]`: give it one name"),
            );
        }
    }
    Some((span, schema, name))
}

fn labels(
    data: &DataEnum,
    attrs: &ColumnTypeAttrs,
    sqlx_rule: Option<neighbours::RenameAll>,
    errors: &mut Errors,
) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    for variant in &data.variants {
        let plain = variant.ident.unraw().to_string();
        let ours = attrs::variant(&variant.attrs, errors).rename;
        let sqlx = neighbours::sqlx_field(&variant.attrs);
        let by_us = ours
            .map(|it| (it.value(), it.span()))
            .or(attrs.rename_all.map(|(_, rule)| (rule.apply(&plain), variant.ident.span())));
        let by_sqlx = sqlx.rename.map(|it| it.value()).or(sqlx_rule.map(|rule| rule.apply(&plain)));
        let label = match (by_us, by_sqlx) {
            (Some((ours, span)), Some(theirs)) if ours != theirs => {
                errors.at(
                    span,
                    format!(
                        "the label is \"{ours}\" by `#[column_type]` and \"{theirs}\" by `#[sqlx]`: let them agree"
                    ),
                );
                ours
            }
            (Some((label, _)), _) | (None, Some(label)) => label,
            (None, None) => plain,
        };
        if labels.contains(&label) {
            errors.at(variant.ident.span(), format!("two variants have the label \"{label}\""));
        }
        labels.push(label);
    }
    labels
}

/// Former labels and those that they became.
fn former_labels(data: &DataEnum, labels: &[String], errors: &mut Errors) -> Vec<(String, String)> {
    let mut renamed: Vec<(String, String)> = Vec::new();
    for (variant, label) in data.variants.iter().zip(labels) {
        // Its mistakes are noted already.
        let Some(old) = attrs::variant(&variant.attrs, &mut Errors::default()).renamed_from else { continue };
        let from = old.value();
        if labels.contains(&from) {
            errors.at(old.span(), format!("\"{from}\" is a label of the enum still: remove `renamed_from`"));
        } else if renamed.iter().any(|(known, _)| *known == from) {
            errors.at(old.span(), format!("two variants were \"{from}\": only one of them can be"));
        }
        renamed.push((from, label.clone()));
    }
    renamed
}
