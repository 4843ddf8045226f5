//! Building the record: literal JSON, with what the compiler resolves in between.

use proc_macro2::TokenStream;
use syn::LitStr;

/// Stands between the fields of a hole, and after each spelling of a type.
pub const SEPARATOR: char = '\u{3}';

/// JSON text with holes.
#[derive(Default)]
pub struct Json {
    text: String,
    /// What fills them, and the same as text: columns of one type share what the compiler works out.
    fillings: Vec<(String, TokenStream)>,
}

impl Json {
    /// Text as it stands.
    pub fn raw(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// A JSON string.
    pub fn string(&mut self, value: &str) -> &mut Self {
        self.text.push('"');
        self.text.push_str(&escape(value));
        self.text.push('"');
        self
    }

    /// `,"key":"value"`, if there is a value.
    pub fn text_field(&mut self, key: &str, value: Option<&LitStr>) -> &mut Self {
        if let Some(value) = value {
            self.raw(",").string(key).raw(":").string(&value.value());
        }
        self
    }

    /// `,"key":"value"` for one of the format's own words, if there is one.
    pub fn word_field(&mut self, key: &str, value: Option<&str>) -> &mut Self {
        if let Some(value) = value {
            self.raw(",").string(key).raw(":").string(value);
        }
        self
    }

    /// `,"key":true`, if it is.
    pub fn flag_field(&mut self, key: &str, value: bool) -> &mut Self {
        if value {
            self.raw(",").string(key).raw(":true");
        }
        self
    }

    /// `[..]`.
    pub fn list<T>(&mut self, items: impl IntoIterator<Item = T>, mut each: impl FnMut(&mut Self, T)) -> &mut Self {
        self.raw("[");
        for (at, item) in items.into_iter().enumerate() {
            if at > 0 {
                self.raw(",");
            }
            each(self, item);
        }
        self.raw("]")
    }

    /// What the compiler resolves. `kind` tells the reader what stands there, made of `fields`: see `artifact::section`.
    pub fn hole(&mut self, kind: char, fields: impl IntoIterator<Item = TokenStream>) -> &mut Self {
        self.text.push('\u{1}');
        self.text.push(kind);
        for (at, field) in fields.into_iter().enumerate() {
            let key = field.to_string();
            let filling = self.fillings.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
                self.fillings.push((key, field));
                self.fillings.len() - 1
            });
            let separator = if at > 0 { "," } else { "" };
            self.text.push_str(&format!("{separator}{filling}"));
        }
        self.text.push('\u{2}');
        self
    }

    /// The text and what fills its holes, for a place where `Filling` is in scope.
    pub fn into_parts(self) -> (String, Vec<TokenStream>) {
        (self.text, self.fillings.into_iter().map(|(_, filling)| filling).collect())
    }

    /// The text of a record without holes.
    pub fn into_text(self) -> String {
        self.text
    }
}

/// A text as it stands inside a JSON string.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}
