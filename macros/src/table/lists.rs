//! Keys, constraints and indexes, as written.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::{
    Error, Ident, LitStr, Path, Result, Token,
    ext::IdentExt,
    parse::{Parse, ParseStream},
};

use crate::{args, errors::unknown};

/// When a constraint is checked, as it is written into the section.
pub type Defer = &'static str;

/// `primary_key(a, b, name = "..", deferrable = "..")`.
pub struct KeyAttr {
    pub span: Span,
    pub columns: Vec<Ident>,
    pub name: Option<LitStr>,
    pub deferrable: Option<Defer>,
}

/// `unique(..)`.
pub struct UniqueAttr {
    pub columns: Vec<Ident>,
    pub name: Option<LitStr>,
    pub nulls_not_distinct: bool,
    pub deferrable: Option<Defer>,
}

/// `check(..)`.
pub struct CheckAttr {
    pub name: Option<LitStr>,
    pub expr: LitStr,
}

/// `partition(..)`.
pub struct PartitionAttr {
    pub name: LitStr,
    pub schema: Option<LitStr>,
    /// `FOR VALUES ..` or `DEFAULT`.
    pub bound: String,
}

/// `Org::id`: the struct's path, and the field.
pub struct ReferenceAttr {
    pub table: Path,
    pub field: Ident,
}

/// `references` on a column, with what its list form adds.
pub struct TargetAttr {
    pub to: ReferenceAttr,
    pub name: Option<LitStr>,
    pub on_delete: Option<&'static str>,
    pub on_update: Option<&'static str>,
    pub deferrable: Option<Defer>,
}

/// `foreign_key(..)`.
pub struct ForeignKeyAttr {
    pub columns: Vec<Ident>,
    pub references: Vec<ReferenceAttr>,
    pub name: Option<LitStr>,
    pub on_delete: Option<&'static str>,
    pub on_update: Option<&'static str>,
    pub deferrable: Option<Defer>,
}

/// `index(..)`.
pub struct IndexAttr {
    pub parts: Vec<PartAttr>,
    pub name: Option<LitStr>,
    pub unique: bool,
    pub method: Option<LitStr>,
    pub include: Vec<Ident>,
    pub predicate: Option<LitStr>,
    pub nulls_not_distinct: bool,
}

/// A column or an expression with its modifiers.
pub struct PartAttr {
    pub key: PartKey,
    pub desc: bool,
    pub nulls: Option<&'static str>,
    pub opclass: Option<LitStr>,
    pub collation: Option<LitStr>,
}

pub enum PartKey {
    Column(Ident),
    Expr(LitStr),
}

pub fn primary_key(key: &Ident, input: ParseStream<'_>) -> Result<KeyAttr> {
    let content = args::list_of(key, input)?;
    let (mut columns, mut name, mut when) = (Vec::new(), None, None);
    while !content.is_empty() {
        if content.peek(Ident::peek_any) && content.peek2(Token![=]) {
            let inner = content.call(Ident::parse_any)?;
            match inner.to_string().as_str() {
                "name" => args::once(&mut name, &inner, args::name(&inner, &content)?)?,
                "deferrable" => args::once(&mut when, &inner, deferrable(&inner, &content)?)?,
                _ => return Err(unknown(&inner, "primary_key(..)", &["name", "deferrable"])),
            }
        } else {
            columns.push(args::field(&content)?);
        }
        if !content.is_empty() {
            content.parse::<Token![,]>()?;
        }
    }
    if columns.is_empty() {
        return Err(Error::new(key.span(), "write the fields of the key: `primary_key(a, b)`"));
    }
    Ok(KeyAttr { span: key.span(), columns, name, deferrable: when })
}

pub fn unique(key: &Ident, input: ParseStream<'_>) -> Result<UniqueAttr> {
    let (mut columns, mut name, mut nulls, mut deferrable) = (None, None, None, None);
    args::nested(key, input, |key, input| match key.to_string().as_str() {
        "columns" => args::once(&mut columns, key, args::items(key, input, args::field)?),
        "name" => args::once(&mut name, key, args::name(key, input)?),
        "nulls_not_distinct" => args::mark(&mut nulls, key, input),
        "deferrable" => args::once(&mut deferrable, key, self::deferrable(key, input)?),
        _ => Err(unknown(key, "unique(..)", &["columns", "name", "nulls_not_distinct", "deferrable"])),
    })?;
    let columns = columns.ok_or_else(|| Error::new(key.span(), "write its fields: `unique(columns(a, b))`"))?;
    Ok(UniqueAttr { columns, name, nulls_not_distinct: nulls.is_some(), deferrable })
}

pub fn check(key: &Ident, input: ParseStream<'_>) -> Result<CheckAttr> {
    if input.peek(Token![=]) {
        return Ok(CheckAttr { name: None, expr: args::text(key, input)? });
    }
    let (mut expr, mut name) = (None, None);
    args::nested(key, input, |key, input| match key.to_string().as_str() {
        "expr" => args::once(&mut expr, key, args::text(key, input)?),
        "name" => args::once(&mut name, key, args::name(key, input)?),
        _ => Err(unknown(key, "check(..)", &["expr", "name"])),
    })?;
    let expr = expr.ok_or_else(|| Error::new(key.span(), "write its condition: `check(expr = \"..\")`"))?;
    Ok(CheckAttr { name, expr })
}

pub fn partition(key: &Ident, input: ParseStream<'_>) -> Result<PartitionAttr> {
    let (mut name, mut schema, mut values, mut default) = (None, None, None, None);
    args::nested(key, input, |key, input| match key.to_string().as_str() {
        "name" => args::once(&mut name, key, args::name(key, input)?),
        "schema" => args::once(&mut schema, key, args::name(key, input)?),
        "values" => args::once(&mut values, key, args::text(key, input)?),
        "default" => args::mark(&mut default, key, input),
        _ => Err(unknown(key, "partition(..)", &["name", "schema", "values", "default"])),
    })?;
    let name = name
        .ok_or_else(|| Error::new(key.span(), "write its table's name: `partition(name = \"..\", values = \"..\")`"))?;
    let bound = match (values, default) {
        (Some(values), None) => {
            let text = values.value();
            let word = text.split([' ', '(']).next().unwrap_or_default().to_ascii_uppercase();
            if !matches!(word.as_str(), "FROM" | "IN" | "WITH") {
                let help = "write what comes after FOR VALUES: `FROM ('2025-01-01') TO ('2026-01-01')`, `IN ('a', 'b')` or `WITH (MODULUS 4, REMAINDER 0)`";
                return Err(Error::new(values.span(), help));
            }
            format!("FOR VALUES {text}")
        }
        (None, Some(_)) => "DEFAULT".to_owned(),
        (Some(values), Some(_)) => {
            return Err(Error::new(values.span(), "a partition holds its `values`, or as the `default` all others"));
        }
        (None, None) => {
            return Err(Error::new(
                name.span(),
                "say which rows it holds: `values = \"FROM (..) TO (..)\"`, or `default`",
            ));
        }
    };
    Ok(PartitionAttr { name, schema, bound })
}

pub fn deferrable(key: &Ident, input: ParseStream<'_>) -> Result<Defer> {
    if input.peek(Token![=]) {
        return args::choice(key, input, &[("immediate", "immediate"), ("deferred", "deferred")]);
    }
    args::flag(key, input).map(|()| "immediate")
}

pub fn action(key: &Ident, input: ParseStream<'_>) -> Result<&'static str> {
    args::choice(
        key,
        input,
        &[
            ("no_action", "no_action"),
            ("restrict", "restrict"),
            ("cascade", "cascade"),
            ("set_null", "set_null"),
            ("set_default", "set_default"),
        ],
    )
}

fn reference(input: ParseStream<'_>) -> Result<ReferenceAttr> {
    let help = "write the struct and its field as a Rust path: `Org::id`";
    if input.peek(LitStr) {
        return Err(Error::new(input.span(), help));
    }
    let path = Path::parse(input).map_err(|error| Error::new(error.span(), help))?;
    split_reference(path).ok_or_else(|| Error::new(input.span(), help))
}

/// The struct and the field of `a::b::Struct::field`.
fn split_reference(mut path: Path) -> Option<ReferenceAttr> {
    let field = path.segments.pop()?;
    // The separator before the field goes too.
    path.segments.pop_punct();
    (!path.segments.is_empty() && field.arguments.is_empty())
        .then_some(ReferenceAttr { table: path, field: field.ident })
}

pub fn target(key: &Ident, input: ParseStream<'_>) -> Result<TargetAttr> {
    if !input.peek(syn::token::Paren) {
        let path = args::path(key, input, "Org::id")?;
        let spanned = path.to_token_stream();
        let to = split_reference(path)
            .ok_or_else(|| Error::new_spanned(spanned, "write the struct and its field: `references = Org::id`"))?;
        return Ok(TargetAttr { to, name: None, on_delete: None, on_update: None, deferrable: None });
    }
    let content = args::list_of(key, input)?;
    let to = reference(&content)?;
    let mut out = TargetAttr { to, name: None, on_delete: None, on_update: None, deferrable: None };
    while !content.is_empty() {
        content.parse::<Token![,]>()?;
        if content.is_empty() {
            break;
        }
        let key = content.call(Ident::parse_any)?;
        match key.to_string().as_str() {
            "name" => args::once(&mut out.name, &key, args::name(&key, &content)?)?,
            "on_delete" => args::once(&mut out.on_delete, &key, action(&key, &content)?)?,
            "on_update" => args::once(&mut out.on_update, &key, action(&key, &content)?)?,
            "deferrable" => args::once(&mut out.deferrable, &key, deferrable(&key, &content)?)?,
            _ => {
                let known = &["name", "on_delete", "on_update", "deferrable"];
                return Err(unknown(&key, "references(..)", known));
            }
        }
    }
    Ok(out)
}

pub fn foreign_key(key: &Ident, input: ParseStream<'_>) -> Result<ForeignKeyAttr> {
    let (mut columns, mut references, mut name) = (None, None, None);
    let (mut on_delete, mut on_update, mut deferrable) = (None, None, None);
    args::nested(key, input, |key, input| match key.to_string().as_str() {
        "columns" => args::once(&mut columns, key, args::items(key, input, args::field)?),
        "references" => args::once(&mut references, key, args::items(key, input, reference)?),
        "name" => args::once(&mut name, key, args::name(key, input)?),
        "on_delete" => args::once(&mut on_delete, key, action(key, input)?),
        "on_update" => args::once(&mut on_update, key, action(key, input)?),
        "deferrable" => args::once(&mut deferrable, key, self::deferrable(key, input)?),
        _ => {
            let known = &["columns", "references", "name", "on_delete", "on_update", "deferrable"];
            Err(unknown(key, "foreign_key(..)", known))
        }
    })?;
    let (Some(columns), Some(references)) = (columns, references) else {
        let help = "write both sides: `foreign_key(columns(a, b), references(Org::a, Org::b))`";
        return Err(Error::new(key.span(), help));
    };
    if columns.len() != references.len() {
        let help = format!("{} columns reference {}: name one target a column", columns.len(), references.len());
        return Err(Error::new(key.span(), help));
    }
    let table = |reference: &ReferenceAttr| reference.table.to_token_stream().to_string();
    if let Some(stray) = references.iter().skip(1).find(|it| table(it) != table(&references[0])) {
        return Err(Error::new_spanned(&stray.table, "a foreign key references one struct; write two foreign keys"));
    }
    Ok(ForeignKeyAttr { columns, references, name, on_delete, on_update, deferrable })
}

const INDEX_KEYS: &[&str] =
    &["columns", "expr", "name", "unique", "method", "include", "where", "nulls_not_distinct", "opclass"];

pub fn index(key: &Ident, input: ParseStream<'_>) -> Result<IndexAttr> {
    let (mut columns, mut expr, mut name, mut method) = (None, None, None, None);
    let (mut include, mut predicate, mut opclass) = (None, None, None);
    let (mut unique, mut nulls) = (None, None);
    args::nested(key, input, |key, input| match key.to_string().as_str() {
        "columns" => args::once(&mut columns, key, args::items(key, input, part)?),
        "expr" => args::once(&mut expr, key, args::text(key, input)?),
        "name" => args::once(&mut name, key, args::name(key, input)?),
        "method" => args::once(&mut method, key, args::name(key, input)?),
        "include" => args::once(&mut include, key, args::items(key, input, args::field)?),
        "where" => args::once(&mut predicate, key, args::text(key, input)?),
        "opclass" => args::once(&mut opclass, key, args::name(key, input)?),
        "unique" => args::mark(&mut unique, key, input),
        "nulls_not_distinct" => args::mark(&mut nulls, key, input),
        _ => Err(unknown(key, "index(..)", INDEX_KEYS)),
    })?;
    if let (Some(_), Some(expr)) = (&columns, &expr) {
        let help = "write the expression in its place among the columns: `index(columns(a, \"lower(b)\"))`";
        return Err(Error::new(expr.span(), help));
    }
    let mut parts = columns.unwrap_or_default();
    parts.extend(expr.map(|expr| PartAttr::new(PartKey::Expr(expr))));
    if parts.is_empty() {
        let help = "write what it covers: `index(columns(a, b))` or `index(expr = \"lower(a)\")`";
        return Err(Error::new(key.span(), help));
    }
    if let Some(opclass) = opclass {
        let [part] = parts.as_mut_slice() else {
            let help = "`opclass` of an index with several parts goes to the part: `columns(a opclass(\"..\"), b)`";
            return Err(Error::new(opclass.span(), help));
        };
        part.opclass = Some(opclass);
    }
    for field in include.iter().flatten() {
        if parts.iter().any(|part| matches!(&part.key, PartKey::Column(column) if column == field)) {
            return Err(Error::new(
                field.span(),
                format!("`{field}` is a part of the key already: take it out of `include`"),
            ));
        }
    }
    if let (Some(at), None) = (nulls, unique) {
        return Err(Error::new(at, "`nulls_not_distinct` is for `unique` indexes"));
    }
    Ok(IndexAttr {
        parts,
        name,
        unique: unique.is_some(),
        method,
        include: include.unwrap_or_default(),
        predicate,
        nulls_not_distinct: nulls.is_some(),
    })
}

impl PartAttr {
    pub fn new(key: PartKey) -> Self {
        Self { key, desc: false, nulls: None, opclass: None, collation: None }
    }
}

/// `a`, `a desc nulls_last`, `"lower(a)" opclass("text_pattern_ops")`.
fn part(input: ParseStream<'_>) -> Result<PartAttr> {
    let key =
        if input.peek(LitStr) { PartKey::Expr(input.parse()?) } else { PartKey::Column(input.call(Ident::parse_any)?) };
    let mut part = PartAttr::new(key);
    let (mut order, mut place) = (None, None);
    while input.peek(Ident::peek_any) {
        let word = input.call(Ident::parse_any)?;
        let argument = |input: ParseStream<'_>| -> Result<LitStr> { args::list_of(&word, input)?.parse() };
        match word.to_string().as_str() {
            "asc" => one_of(&mut order, &word, &["asc", "desc"])?,
            "desc" => {
                one_of(&mut order, &word, &["asc", "desc"])?;
                part.desc = true;
            }
            "nulls_first" => {
                one_of(&mut place, &word, &["nulls_first", "nulls_last"])?;
                part.nulls = Some("first");
            }
            "nulls_last" => {
                one_of(&mut place, &word, &["nulls_first", "nulls_last"])?;
                part.nulls = Some("last");
            }
            "opclass" => part.opclass = Some(argument(input)?),
            "collate" => part.collation = Some(argument(input)?),
            _ => {
                let known = ["asc", "desc", "nulls_first", "nulls_last", "opclass", "collate"];
                return Err(unknown(&word, "columns(..)", &known));
            }
        }
    }
    Ok(part)
}

/// Words of which a part has one at most.
fn one_of(seen: &mut Option<Ident>, word: &Ident, all: &[&str]) -> Result<()> {
    match seen.replace(word.clone()) {
        None => Ok(()),
        Some(_) => Err(Error::new(word.span(), format!("write one of `{}`", all.join("`, `")))),
    }
}

/// Tokens of a reference's struct, with `Self` spelled out.
pub fn table_of(reference: &ReferenceAttr, own: &Ident) -> TokenStream {
    if reference.table.is_ident("Self") {
        let mut own = own.clone();
        own.set_span(reference.table.segments[0].ident.span());
        own.to_token_stream()
    } else {
        reference.table.to_token_stream()
    }
}

impl IndexAttr {
    /// `index` on a column.
    pub fn of_column(field: Ident, name: Option<LitStr>) -> Self {
        Self {
            parts: vec![PartAttr::new(PartKey::Column(field))],
            name,
            unique: false,
            method: None,
            include: Vec::new(),
            predicate: None,
            nulls_not_distinct: false,
        }
    }
}
