//! From attributes to a table: names by their order of precedence, keys by their fields, and every contradiction.

use std::collections::BTreeMap;

use proc_macro2::Span;
use syn::{Data, DeriveInput, Field, Fields, Ident, LitStr, Path, Type, ext::IdentExt};

use super::{
    attrs::{self, ColumnAttrs, TableAttrs},
    lists::{CheckAttr, IndexAttr, PartKey, ReferenceAttr, UniqueAttr},
    partitioning,
};
use crate::{
    errors::{Errors, nearest},
    neighbours::{self, RenameAll},
};

/// A checked table.
pub struct Table {
    pub name: String,
    pub schema: Option<String>,
    pub attrs: TableAttrs,
    pub columns: Vec<Column>,
    pub primary_key: Option<PrimaryKey>,
    pub uniques: Vec<UniqueAttr>,
    /// With the column that a check was written on.
    pub checks: Vec<(Option<String>, CheckAttr)>,
    pub foreign_keys: Vec<ForeignKey>,
    pub indexes: Vec<IndexAttr>,
    /// Path of the runtime crate.
    pub root: Option<Path>,
    /// Column names by field.
    pub names: BTreeMap<String, String>,
}

/// A checked column.
pub struct Column {
    pub field: Ident,
    pub name: String,
    pub ty: ColumnTy,
    pub attrs: ColumnAttrs,
}

/// Where a column's type comes from.
pub enum ColumnTy {
    /// From the trait, for this Rust type.
    Trait(Type),
    /// From `ty`; the Rust type says whether NULL is allowed.
    Named(Type),
    /// `#[sqlx(json)]`, and whether it is `json(nullable)`.
    Json(bool),
}

pub struct PrimaryKey {
    pub columns: Vec<Ident>,
    pub name: Option<LitStr>,
    pub deferrable: Option<&'static str>,
    pub span: Span,
}

pub struct ForeignKey {
    pub columns: Vec<Ident>,
    pub references: Vec<ReferenceAttr>,
    pub name: Option<LitStr>,
    pub on_delete: Option<&'static str>,
    pub on_update: Option<&'static str>,
    pub deferrable: Option<&'static str>,
}

impl Table {
    /// The column name of a field that [`resolve`] has checked.
    pub fn column_name(&self, field: &Ident) -> &str {
        self.names.get(&field.unraw().to_string()).map(String::as_str).unwrap_or_default()
    }
}

/// The named fields of a struct.
pub fn fields<'i>(input: &'i DeriveInput, errors: &mut Errors) -> Vec<&'i Field> {
    let (span, help) = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => return fields.named.iter().collect(),
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                (input.ident.span(), "a newtype is a column type, not a table: derive `schemadiff::ColumnType` for it")
            }
            _ => (input.ident.span(), "a table is a struct with named fields: each of them is a column"),
        },
        Data::Enum(_) => {
            (input.ident.span(), "an enum is a column type, not a table: derive `schemadiff::ColumnType` for it")
        }
        Data::Union(_) => (input.ident.span(), "a table is a struct with named fields, a union cannot be one"),
    };
    errors.at(span, help);
    Vec::new()
}

/// Reads and checks everything. `None` when something was wrong; `errors` then says what.
pub fn resolve(input: &DeriveInput, errors: &mut Errors) -> Option<Table> {
    let fields = fields(input, errors);
    if !errors.is_empty() {
        return None;
    }
    let long = attrs::uses_long_form(input.attrs.iter().chain(fields.iter().flat_map(|field| &field.attrs)));
    let mut attrs = attrs::table(&input.attrs, long, errors);
    // A name that was written wrongly is not missing.
    let attrs_are_whole = errors.is_empty();
    let sqlx = neighbours::sqlx_container(&input.attrs);
    let diesel = neighbours::diesel_container(&input.attrs);

    let columns: Vec<Column> = fields.iter().filter_map(|field| column(field, long, sqlx.rename_all, errors)).collect();
    let names = column_names(&columns, errors);
    if columns.is_empty() && errors.is_empty() {
        errors.at(input.ident.span(), "a table needs a column, and no field is one");
    }
    let name = table_name(&attrs, diesel.table_name.as_ref(), errors).unwrap_or_else(|| {
        if attrs_are_whole {
            errors.at(input.ident.span(), "the table has no name: write `#[table(name = \"..\")]` on the struct");
        }
        String::new()
    });
    let mut table = Table {
        name,
        schema: attrs.schema.as_ref().map(LitStr::value),
        columns,
        primary_key: None,
        uniques: std::mem::take(&mut attrs.uniques),
        checks: std::mem::take(&mut attrs.checks).into_iter().map(|check| (None, check)).collect(),
        foreign_keys: Vec::new(),
        indexes: std::mem::take(&mut attrs.indexes),
        root: attrs.root.take(),
        attrs,
        names,
    };
    table.primary_key = primary_key(&mut table, diesel.primary_key, input.ident.span(), errors);
    collect_from_columns(&mut table, errors);
    check_lists(&table, errors);
    check_renames(&table, errors);
    partitioning::check(&table, errors);
    errors.is_empty().then_some(table)
}

fn table_name(attrs: &TableAttrs, diesel: Option<&Ident>, errors: &mut Errors) -> Option<String> {
    let diesel = diesel.map(|ident| ident.unraw().to_string());
    let ours = attrs.name.as_ref().map(LitStr::value);
    if let (Some(name), Some(ours), Some(other)) = (&attrs.name, &ours, &diesel)
        && ours != other
    {
        let message =
            format!("the table is \"{ours}\" here and `{other}` in `#[diesel(table_name)]`: give it one name");
        errors.at(name.span(), message);
    }
    ours.or(diesel)
}

fn column(field: &Field, long: bool, rename_all: Option<RenameAll>, errors: &mut Errors) -> Option<Column> {
    let ident = field.ident.clone()?;
    let attrs = attrs::column(&field.attrs, long, errors);
    let sqlx = neighbours::sqlx_field(&field.attrs);
    let diesel = neighbours::diesel_field(&field.attrs);
    if let (Some(skip), Some(_)) = (attrs.skip, attrs.given) {
        errors.at(skip, "`skip` says that the field is no column: write it alone, or leave it away");
        return None;
    }
    if let (Some(_), Some(given)) = (sqlx.skip, attrs.given) {
        errors.at(given, "`#[sqlx(skip)]` says that the field is no column: take one of the two attributes away");
        return None;
    }
    if attrs.skip.is_some() || sqlx.skip.is_some() {
        return None;
    }
    for (span, what) in [(sqlx.flatten, "#[sqlx(flatten)]"), (diesel.embed, "#[diesel(embed)]")] {
        if let Some(span) = span {
            let message = format!(
                "the columns behind `{what}` are not visible here: write them out as fields, or `#[column(skip)]` if they belong to another table"
            );
            errors.at(span, message);
        }
    }
    let name = column_name(&ident, &attrs, &sqlx, diesel.column_name, rename_all, errors);
    check_column(&attrs, errors);
    let ty = match (&attrs.ty, sqlx.json, sqlx.try_from) {
        (Some(_), json, _) => match json {
            // `json` without `nullable` decodes no NULL, whatever the field's type is.
            Some(false) => ColumnTy::Named(syn::parse_quote!(())),
            _ => ColumnTy::Named(field.ty.clone()),
        },
        (None, Some(nullable), _) => ColumnTy::Json(nullable),
        (None, None, Some(from)) => ColumnTy::Trait(from),
        (None, None, None) => ColumnTy::Trait(field.ty.clone()),
    };
    Some(Column { field: ident, name, ty, attrs })
}

/// `#[column(name)]`, `#[sqlx(rename)]`, `#[diesel(column_name)]`, the field under `#[sqlx(rename_all)]`, the field.
/// Those that are given must agree, because each is what some row mapping looks for.
fn column_name(
    field: &Ident,
    attrs: &ColumnAttrs,
    sqlx: &neighbours::SqlxField,
    diesel: Option<(String, Span)>,
    rename_all: Option<RenameAll>,
    errors: &mut Errors,
) -> String {
    let plain = field.unraw().to_string();
    let by_sqlx = sqlx.rename.as_ref().map(|name| (name.value(), name.span(), "#[sqlx(rename)]"));
    let by_rule = rename_all.map(|rule| (rule.apply(&plain), field.span(), "#[sqlx(rename_all)]"));
    let mut given: Vec<(String, Span, &str)> = Vec::new();
    given.extend(attrs.name.as_ref().map(|name| (name.value(), name.span(), "#[column(name)]")));
    given.extend(by_sqlx.or(by_rule));
    given.extend(diesel.map(|(name, span)| (name, span, "#[diesel(column_name)]")));
    let Some((name, span, first)) = given.first() else { return plain };
    if let Some((other, _, second)) = given.iter().find(|(other, ..)| other != name) {
        let message = format!(
            "the column is \"{name}\" in `{first}` and \"{other}\" in `{second}`: one of the row mappings would not find it"
        );
        errors.at(*span, message);
    }
    name.clone()
}

/// Attributes of one column that exclude each other.
fn check_column(attrs: &ColumnAttrs, errors: &mut Errors) {
    if let (Some(_), Some(with)) = (&attrs.backfill, &attrs.backfill_with) {
        errors.at(
            with.span(),
            "rows get their value from `backfill`, in SQL, or from `backfill_with`, in Rust: not from both",
        );
    }
    if attrs.identity.is_some() {
        if let Some(default) = &attrs.default {
            errors.at(default.span(), "the engine numbers an identity column: it cannot have a `default`");
        }
        if let Some(backfill) = &attrs.backfill {
            errors.at(backfill.span(), "the engine numbers an identity column: it needs no `backfill`");
        }
        if let Some(with) = &attrs.backfill_with {
            errors.at(with.span(), "the engine numbers an identity column: it needs no `backfill_with`");
        }
        if let Some(generated) = &attrs.generated {
            errors.at(generated.span, "a column is either `identity` or `generated`");
        }
    }
    if let Some(generated) = &attrs.generated {
        let other =
            attrs.default.as_ref().map(|it| (it, "default")).or(attrs.backfill.as_ref().map(|it| (it, "backfill")));
        let other = other.or(attrs.backfill_with.as_ref().map(|it| (it, "backfill_with")));
        if let Some((other, what)) = other {
            errors.at(other.span(), format!("the engine computes a generated column: it cannot have a `{what}`"));
        }
        if attrs.primary_key.is_some() {
            errors.at(generated.span, "a generated column cannot be the primary key");
        }
    }
    let on = [
        (attrs.on_delete.map(|it| it.0), "on_delete"),
        (attrs.on_update.map(|it| it.0), "on_update"),
        (attrs.deferrable.as_ref().map(|it| it.0), "deferrable"),
    ];
    for (span, what) in on {
        match (span, &attrs.references) {
            (Some(span), None) => {
                errors.at(span, format!("`{what}` belongs to a foreign key: write `references = Struct::field` too"));
            }
            (Some(span), Some(target)) => {
                let inner = match what {
                    "on_delete" => target.on_delete.is_some(),
                    "on_update" => target.on_update.is_some(),
                    _ => target.deferrable.is_some(),
                };
                if inner {
                    errors.at(span, format!("`{what}` is given twice"));
                }
            }
            (None, _) => {}
        }
    }
}

fn column_names(columns: &[Column], errors: &mut Errors) -> BTreeMap<String, String> {
    let mut seen: BTreeMap<&str, &Ident> = BTreeMap::new();
    for column in columns {
        if let Some(first) = seen.insert(&column.name, &column.field) {
            let span = column.attrs.name.as_ref().map_or(column.field.span(), LitStr::span);
            errors.at(span, format!("column \"{}\" is already the field `{first}`", column.name));
        }
    }
    columns.iter().map(|column| (column.field.unraw().to_string(), column.name.clone())).collect()
}

fn primary_key(
    table: &mut Table,
    diesel: Option<Vec<Ident>>,
    struct_span: Span,
    errors: &mut Errors,
) -> Option<PrimaryKey> {
    let marked: Vec<(Ident, Span)> =
        table.columns.iter().filter_map(|c| c.attrs.primary_key.map(|span| (c.field.clone(), span))).collect();
    if let Some((_, second)) = marked.get(1) {
        let fields = marked.iter().map(|(field, _)| field.to_string()).collect::<Vec<_>>().join(", ");
        let message = format!(
            "a table has one primary key; for a key of several columns write `#[table(primary_key({fields}))]`"
        );
        errors.at(*second, message);
        return None;
    }
    let by_column = marked.into_iter().next();
    let by_table = table.attrs.primary_key.take();
    if let (Some(_), Some(key)) = (&by_column, &by_table) {
        errors.at(key.span, "the primary key is also given by `#[column(primary_key)]`: keep one of the two");
    }
    let ours = match (by_table, by_column) {
        (Some(key), _) => {
            Some(PrimaryKey { columns: key.columns, name: key.name, deferrable: key.deferrable, span: key.span })
        }
        (None, Some((field, span))) => Some(PrimaryKey { columns: vec![field], name: None, deferrable: None, span }),
        (None, None) => None,
    };
    if let (Some(_), Some(none)) = (&ours, table.attrs.no_primary_key) {
        errors.at(none, "`no_primary_key` is written on a table that has one");
    }
    let diesel = diesel.map(|columns| diesel_key(table, columns, errors));
    match (ours, diesel) {
        (Some(ours), Some(theirs)) if names(&ours.columns) != names(&theirs) => {
            errors.at(ours.span, "the primary key differs from `#[diesel(primary_key(..))]`");
            Some(ours)
        }
        (Some(ours), _) => Some(ours),
        (None, Some(columns)) => Some(PrimaryKey { span: struct_span, columns, name: None, deferrable: None }),
        (None, None) => {
            if table.attrs.no_primary_key.is_none() && errors.is_empty() {
                let message = "the table has no primary key: write `#[column(primary_key)]` on a field, `#[table(primary_key(a, b))]`, or `#[table(no_primary_key)]`";
                errors.at(struct_span, message);
            }
            None
        }
    }
}

/// Diesel names its key by columns: the fields that they are.
fn diesel_key(table: &Table, columns: Vec<Ident>, errors: &mut Errors) -> Vec<Ident> {
    columns
        .into_iter()
        .filter_map(|ident| {
            let name = ident.unraw().to_string();
            let field = table.columns.iter().find(|c| c.name == name).map(|c| c.field.clone());
            if field.is_none() {
                errors.at(ident.span(), format!("no field of the struct is the key column \"{name}\""));
            }
            field
        })
        .collect()
}

fn names(fields: &[Ident]) -> Vec<String> {
    fields.iter().map(|field| field.unraw().to_string()).collect()
}

/// Constraints and indexes that were written on columns become the table's, before those of the table.
fn collect_from_columns(table: &mut Table, errors: &mut Errors) {
    let (mut uniques, mut checks, mut keys, mut indexes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for column in &mut table.columns {
        let field = || vec![column.field.clone()];
        if let Some((span, name)) = column.attrs.unique.take() {
            if column.attrs.primary_key.is_some() {
                errors.at(span, "a primary key is unique already: leave `unique` away");
            }
            uniques.push(UniqueAttr { columns: field(), name, nulls_not_distinct: false, deferrable: None });
        }
        if let Some((span, name)) = column.attrs.index.take() {
            if column.attrs.primary_key.is_some() {
                errors.at(span, "a primary key has an index already: leave `index` away");
            }
            indexes.push(IndexAttr::of_column(column.field.clone(), name));
        }
        checks.extend(column.attrs.checks.drain(..).map(|check| (Some(column.name.clone()), check)));
        if let Some(target) = column.attrs.references.take() {
            keys.push(ForeignKey {
                columns: field(),
                references: vec![target.to],
                name: target.name,
                on_delete: target.on_delete.or(column.attrs.on_delete.map(|it| it.1)),
                on_update: target.on_update.or(column.attrs.on_update.map(|it| it.1)),
                deferrable: target.deferrable.or(column.attrs.deferrable.map(|it| it.1)),
            });
        }
    }
    keys.extend(std::mem::take(&mut table.attrs.foreign_keys).into_iter().map(|key| ForeignKey {
        columns: key.columns,
        references: key.references,
        name: key.name,
        on_delete: key.on_delete,
        on_update: key.on_update,
        deferrable: key.deferrable,
    }));
    table.uniques.splice(0..0, uniques);
    table.checks.splice(0..0, checks);
    table.indexes.splice(0..0, indexes);
    table.foreign_keys = keys;
}

/// Every list names fields of the struct, each of them once.
fn check_lists(table: &Table, errors: &mut Errors) {
    let check = |fields: &mut dyn Iterator<Item = &Ident>, errors: &mut Errors| {
        let mut seen = Vec::new();
        for field in fields {
            let name = field.unraw().to_string();
            if seen.contains(&name) {
                errors.at(field.span(), format!("`{name}` is listed twice"));
            } else if !table.names.contains_key(&name) {
                errors.at(field.span(), no_field(table, &name));
            }
            seen.push(name);
        }
    };
    if let Some(key) = &table.primary_key {
        check(&mut key.columns.iter(), errors);
    }
    table.uniques.iter().for_each(|unique| check(&mut unique.columns.iter(), errors));
    table.foreign_keys.iter().for_each(|key| check(&mut key.columns.iter(), errors));
    for index in &table.indexes {
        // One column may come twice with different operator classes: only unknown ones are mistakes.
        for part in &index.parts {
            if let PartKey::Column(field) = &part.key {
                check(&mut std::iter::once(field), errors);
            }
        }
        check(&mut index.include.iter(), errors);
    }
}

fn no_field(table: &Table, name: &str) -> String {
    if let Some(column) = table.columns.iter().find(|column| column.name == name) {
        return format!("columns are named by their fields: write `{}` for column \"{name}\"", column.field);
    }
    match nearest(name, table.names.keys().map(String::as_str)) {
        Some(near) => format!("no field `{name}` is a column of this struct; did you mean `{near}`?"),
        None => {
            let known: Vec<&str> = table.names.keys().map(String::as_str).collect();
            format!("no field `{name}` is a column of this struct; columns are {}", crate::errors::list(&known))
        }
    }
}

fn check_renames(table: &Table, errors: &mut Errors) {
    if let Some(from) = &table.attrs.renamed_from
        && from.value() == table.name
    {
        errors.at(from.span(), "the table has this name now: `renamed_from` is the name it had before");
    }
    let mut seen = BTreeMap::new();
    for column in &table.columns {
        let Some(from) = &column.attrs.renamed_from else { continue };
        let name = from.value();
        if name == column.name {
            errors.at(from.span(), "the column has this name now: `renamed_from` is the name it had before");
        } else if table.columns.iter().any(|other| other.name == name) {
            errors.at(from.span(), format!("\"{name}\" is a column of this struct, so nothing was renamed from it"));
        } else if let Some(first) = seen.insert(name.clone(), column.field.clone()) {
            errors.at(from.span(), format!("field `{first}` was renamed from \"{name}\" already"));
        }
    }
}
