//! Building the record: literal JSON, with what the compiler resolves in between.

use proc_macro2::TokenStream;
use syn::LitStr;

/// JSON text with holes.
#[derive(Default)]
pub struct Json {
    text: String,
    texts: Vec<String>,
    holes: Vec<TokenStream>,
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

    /// A part that the compiler resolves. `kind` tells the reader what stands in the hole: see `artifact::section`.
    pub fn hole(&mut self, kind: char, part: TokenStream) -> &mut Self {
        self.text.push('\u{1}');
        self.text.push(kind);
        self.texts.push(std::mem::take(&mut self.text));
        self.holes.push(part);
        self.text.push('\u{2}');
        self
    }

    /// Length of all literal text, the texts (one more than holes), and the holes, for a place where `Part` is in scope.
    pub fn into_parts(mut self) -> (usize, Vec<String>, Vec<TokenStream>) {
        self.texts.push(self.text);
        (self.texts.iter().map(String::len).sum(), self.texts, self.holes)
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
