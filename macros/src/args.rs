//! Reading `key`, `key = value` and `key(..)` lists, going on after a mistake.

use proc_macro2::{Span, TokenTree};
use syn::{
    Attribute, Error, Ident, Lit, LitStr, Meta, Path, Result, Token,
    ext::IdentExt,
    parenthesized,
    parse::{Parse, ParseStream},
};

use crate::errors::{Errors, list, nearest};

/// Reads the list of an attribute, key by key. A key's mistake is noted, and reading goes on after the next comma.
pub fn attribute(attr: &Attribute, errors: &mut Errors, each: impl FnMut(&Ident, ParseStream<'_>) -> Result<()>) {
    let name = attr.path().get_ident().map(ToString::to_string).unwrap_or_default();
    if !matches!(attr.meta, Meta::List(_)) {
        errors.push(Error::new_spanned(&attr.meta, format!("write `#[{name}(..)]`")));
        return;
    }
    let mut found = Vec::new();
    let rest = attr.parse_args_with(|input: ParseStream<'_>| {
        keys(input, &mut found, each);
        Ok(())
    });
    // What a failed key left unread is no mistake of its own.
    if found.is_empty()
        && let Err(error) = rest
    {
        found.push(error);
    }
    found.into_iter().for_each(|error| errors.push(error));
}

fn keys(input: ParseStream<'_>, errors: &mut Vec<Error>, mut each: impl FnMut(&Ident, ParseStream<'_>) -> Result<()>) {
    while !input.is_empty() {
        let read = input.call(Ident::parse_any).and_then(|key| each(&key, input));
        match read {
            Ok(()) if input.is_empty() || input.peek(Token![,]) => {}
            Ok(()) => errors.push(input.error("expected `,`")),
            Err(error) => errors.push(error),
        }
        while !input.is_empty() && !input.peek(Token![,]) {
            let _: Result<TokenTree> = input.parse();
        }
        let _: Result<Token![,]> = input.parse();
    }
}

/// Reads `( .. )` after a key, key by key; the first mistake ends it.
pub fn nested(
    key: &Ident,
    input: ParseStream<'_>,
    each: impl FnMut(&Ident, ParseStream<'_>) -> Result<()>,
) -> Result<()> {
    let mut found = Vec::new();
    let content = list_of(key, input)?;
    keys(&content, &mut found, each);
    let mut found = found.into_iter();
    match found.next() {
        None => Ok(()),
        Some(mut first) => {
            found.for_each(|error| first.combine(error));
            Err(first)
        }
    }
}

/// The inside of the parentheses after a key.
pub fn list_of<'i>(key: &Ident, input: ParseStream<'i>) -> Result<syn::parse::ParseBuffer<'i>> {
    if !input.peek(syn::token::Paren) {
        return Err(Error::new(key.span(), format!("`{key}` takes a list: `{key}(..)`")));
    }
    let content;
    parenthesized!(content in input);
    Ok(content)
}

/// Comma-separated items inside the parentheses after a key, at least one.
pub fn items<T>(key: &Ident, input: ParseStream<'_>, item: fn(ParseStream<'_>) -> Result<T>) -> Result<Vec<T>> {
    let content = list_of(key, input)?;
    let items = content.parse_terminated(item, Token![,])?;
    if items.is_empty() {
        return Err(Error::new(key.span(), format!("`{key}()` is empty")));
    }
    Ok(items.into_iter().collect())
}

/// A field's name, raw or not.
pub fn field(input: ParseStream<'_>) -> Result<Ident> {
    if input.peek(LitStr) {
        let text: LitStr = input.parse()?;
        return Err(Error::new(text.span(), format!("name the field itself, without quotes: `{}`", text.value())));
    }
    input.call(Ident::parse_any)
}

/// `= ".."`.
pub fn string(key: &Ident, input: ParseStream<'_>) -> Result<LitStr> {
    let expected = || format!("`{key}` takes a string: `{key} = \"..\"`");
    if !input.peek(Token![=]) {
        return Err(Error::new(key.span(), expected()));
    }
    input.parse::<Token![=]>()?;
    if !input.peek(LitStr) {
        return Err(Error::new(input.span(), expected()));
    }
    input.parse()
}

/// `= ".."` that may not be empty.
pub fn text(key: &Ident, input: ParseStream<'_>) -> Result<LitStr> {
    let text = string(key, input)?;
    if text.value().trim().is_empty() {
        return Err(Error::new(text.span(), format!("`{key}` is empty")));
    }
    Ok(text)
}

/// `= ".."` that can be a name in a database.
pub fn name(key: &Ident, input: ParseStream<'_>) -> Result<LitStr> {
    let text = text(key, input)?;
    if text.value().contains('\0') {
        return Err(Error::new(text.span(), "a name cannot hold the character NUL"));
    }
    Ok(text)
}

/// A name after a key that can also stand alone.
pub fn optional_name(key: &Ident, input: ParseStream<'_>) -> Result<Option<LitStr>> {
    if input.peek(Token![=]) { name(key, input).map(Some) } else { flag(key, input).map(|()| None) }
}

/// A key that stands alone.
pub fn flag(key: &Ident, input: ParseStream<'_>) -> Result<()> {
    if input.is_empty() || input.peek(Token![,]) {
        return Ok(());
    }
    Err(Error::new(input.span(), format!("`{key}` stands alone, without a value")))
}

/// `= ".."` out of a closed list of words; blanks and hyphens count as underscores.
pub fn choice<T: Copy>(key: &Ident, input: ParseStream<'_>, choices: &[(&str, T)]) -> Result<T> {
    let text = string(key, input)?;
    let word = text.value().to_lowercase().replace([' ', '-'], "_");
    if let Some((_, value)) = choices.iter().find(|(name, _)| *name == word) {
        return Ok(*value);
    }
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    let help = match nearest(&word, names.iter().copied()) {
        Some(near) => format!("did you mean `\"{near}\"`?"),
        None => format!("write one of {}", list(&names)),
    };
    Err(Error::new(text.span(), format!("`{key}` cannot be \"{}\"; {help}", text.value())))
}

/// `= ".."`, or a number or boolean whose text is the SQL.
pub fn sql(key: &Ident, input: ParseStream<'_>) -> Result<LitStr> {
    let ahead = input.fork();
    if ahead.parse::<Token![=]>().is_ok() && !ahead.peek(LitStr) {
        input.parse::<Token![=]>()?;
        let span = input.span();
        let sign = if input.parse::<Option<Token![-]>>()?.is_some() { "-" } else { "" };
        return match input.parse::<Lit>() {
            Ok(Lit::Int(number)) => Ok(LitStr::new(&format!("{sign}{}", number.base10_digits()), span)),
            Ok(Lit::Float(number)) => Ok(LitStr::new(&format!("{sign}{}", number.base10_digits()), span)),
            Ok(Lit::Bool(value)) if sign.is_empty() => Ok(LitStr::new(&value.value.to_string(), span)),
            _ => Err(Error::new(span, format!("`{key}` takes an SQL expression in a string: `{key} = \"now()\"`"))),
        };
    }
    text(key, input)
}

/// `= "name(column, ..)"`: a function of the application, and the columns that it is given.
pub fn call(key: &Ident, input: ParseStream<'_>) -> Result<LitStr> {
    let call = text(key, input)?;
    let value = call.value();
    let parts = value.trim().strip_suffix(')').and_then(|call| call.split_once('('));
    let is_word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    let fits = parts.is_some_and(|(name, columns)| {
        is_word(name.trim()) && columns.split(',').all(|column| !column.trim().is_empty())
    });
    if fits {
        return Ok(call);
    }
    let message = format!(
        "`{key}` names a function that the application registers, and the columns that it is given: \
         `{key} = \"email_hash(email)\"`"
    );
    Err(Error::new(call.span(), message))
}

/// `= path`.
pub fn path(key: &Ident, input: ParseStream<'_>, example: &str) -> Result<Path> {
    let expected = || format!("`{key}` takes a Rust path: `{key} = {example}`");
    if !input.peek(Token![=]) {
        return Err(Error::new(key.span(), expected()));
    }
    input.parse::<Token![=]>()?;
    if input.peek(LitStr) {
        return Err(Error::new(input.span(), expected()));
    }
    Path::parse(input).map_err(|error| Error::new(error.span(), expected()))
}

/// Keeps a value that may be given once.
pub fn once<T>(slot: &mut Option<T>, key: &Ident, value: T) -> Result<()> {
    if slot.is_some() {
        return Err(Error::new(key.span(), format!("`{key}` is given twice")));
    }
    *slot = Some(value);
    Ok(())
}

/// Keeps a key that stands alone.
pub fn mark(slot: &mut Option<Span>, key: &Ident, input: ParseStream<'_>) -> Result<()> {
    flag(key, input)?;
    once(slot, key, key.span())
}
