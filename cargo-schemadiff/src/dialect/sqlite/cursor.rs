//! Walking along tokens.

use super::lexer::{Kind, Token, Unclosed, tokens};

/// Why a definition is not read: words for a person.
pub(super) type Reason = String;

/// A place in a list of tokens.
pub(super) struct Cursor<'s> {
    source: &'s str,
    tokens: Vec<Token<'s>>,
    at: usize,
}

impl<'s> Cursor<'s> {
    /// At the start of a definition.
    pub fn new(source: &'s str) -> Result<Self, Unclosed> {
        Ok(Self { source, tokens: tokens(source)?, at: 0 })
    }

    /// The token here.
    pub fn peek(&self) -> Option<Token<'s>> {
        self.tokens.get(self.at).copied()
    }

    /// The token behind this one.
    pub fn peek_second(&self) -> Option<Token<'s>> {
        self.tokens.get(self.at + 1).copied()
    }

    /// Whether the keyword is here.
    pub fn sees(&self, keyword: &str) -> bool {
        self.peek().is_some_and(|t| t.is(keyword))
    }

    /// Whether the symbol is here.
    pub fn sees_symbol(&self, symbol: &str) -> bool {
        self.peek().is_some_and(|t| t.is_symbol(symbol))
    }

    /// Whether everything is read.
    pub fn at_end(&self) -> bool {
        self.at >= self.tokens.len()
    }

    /// Takes the next token, whatever it is.
    pub fn next(&mut self) -> Result<Token<'s>, Reason> {
        let token = self.peek().ok_or("its definition ends early")?;
        self.at += 1;
        Ok(token)
    }

    /// Takes the keywords if they all follow.
    pub fn take(&mut self, keywords: &[&str]) -> bool {
        let all = keywords.iter().enumerate().all(|(i, word)| self.tokens.get(self.at + i).is_some_and(|t| t.is(word)));
        if all {
            self.at += keywords.len();
        }
        all
    }

    /// Takes the symbol if it is here.
    pub fn take_symbol(&mut self, symbol: &str) -> bool {
        let here = self.sees_symbol(symbol);
        self.at += usize::from(here);
        here
    }

    /// Takes the keyword, which must be here.
    pub fn expect(&mut self, keyword: &str) -> Result<(), Reason> {
        if self.take(&[keyword]) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Takes the symbol, which must be here.
    pub fn expect_symbol(&mut self, symbol: &str) -> Result<(), Reason> {
        if self.take_symbol(symbol) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Takes a name.
    pub fn name(&mut self) -> Result<String, Reason> {
        let token = self.next()?;
        token.name().ok_or_else(|| format!("`{}` stands where a name is expected", token.text))
    }

    /// What is said about the token here when it does not fit.
    pub fn unexpected(&self) -> Reason {
        match self.peek() {
            Some(token) => format!("`{}` in its definition is not understood", token.text),
            None => "its definition ends early".to_owned(),
        }
    }

    /// The source between parentheses, which are taken.
    pub fn parenthesized(&mut self) -> Result<&'s str, Reason> {
        let open = self.peek().filter(|t| t.is_symbol("(")).ok_or_else(|| self.unexpected())?;
        let mut depth = 0_usize;
        loop {
            let token = self.next()?;
            if token.is_symbol("(") {
                depth += 1;
            } else if token.is_symbol(")") {
                depth -= 1;
            }
            if depth == 0 {
                return Ok(&self.source[open.end()..token.at]);
            }
        }
    }

    /// The source up to a comma or the closing parenthesis of this level, which are left.
    pub fn until_comma_or_close(&mut self) -> Result<&'s str, Reason> {
        let start = self.peek().ok_or("its definition ends early")?;
        let mut end = start.at;
        while let Some(token) = self.peek() {
            if token.is_symbol(",") || token.is_symbol(")") {
                break;
            }
            end = if token.is_symbol("(") {
                self.parenthesized()?;
                self.tokens.get(self.at - 1).map_or(end, Token::end)
            } else {
                self.at += 1;
                token.end()
            };
        }
        Ok(&self.source[start.at..end])
    }

    /// The rest of the source.
    pub fn rest(&mut self) -> &'s str {
        let start = self.peek().map_or(self.source.len(), |t| t.at);
        self.at = self.tokens.len();
        &self.source[start..]
    }

    /// Names in parentheses.
    pub fn name_list(&mut self) -> Result<Vec<String>, Reason> {
        self.expect_symbol("(")?;
        let mut names = vec![self.name()?];
        while self.take_symbol(",") {
            names.push(self.name()?);
        }
        self.expect_symbol(")")?;
        Ok(names)
    }

    /// A declared type: words and lengths, empty when there is none.
    pub fn type_name(&mut self) -> Result<String, Reason> {
        let mut parts: Vec<&str> = Vec::new();
        while let Some(token) = self.peek() {
            let ends = token.kind != Kind::Word || TYPE_ENDS.iter().any(|word| token.is(word));
            if ends {
                break;
            }
            parts.push(token.text);
            self.at += 1;
        }
        if self.peek().is_some_and(|t| matches!(t.kind, Kind::QuotedName | Kind::Text)) {
            return Err("a type name in quotes is not supported".to_owned());
        }
        let mut ty = parts.join(" ");
        if !ty.is_empty() && self.sees_symbol("(") {
            ty.push_str(&format!("({})", self.parenthesized()?));
        }
        Ok(ty)
    }
}

/// Keywords that cannot be part of a type name.
const TYPE_ENDS: &[&str] = &[
    "CONSTRAINT",
    "DEFAULT",
    "NOT",
    "NULL",
    "PRIMARY",
    "UNIQUE",
    "CHECK",
    "REFERENCES",
    "COLLATE",
    "GENERATED",
    "AS",
    "DEFERRABLE",
    "FOREIGN",
];
