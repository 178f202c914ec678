//! A reader that steps through the tokens of a module.

use super::token::{Token, tokens};

/// A position in a module's tokens.
pub(crate) struct Cursor<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor at the first token of `text`.
    pub(crate) fn new(text: &'a str) -> Result<Self, String> {
        Ok(Self { tokens: tokens(text)?, at: 0 })
    }

    pub(crate) fn peek(&self) -> &'a str {
        self.tokens.get(self.at).map_or("", |token| token.text)
    }

    pub(crate) fn after(&self) -> &'a str {
        self.tokens.get(self.at + 1).map_or("", |token| token.text)
    }

    pub(crate) fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(0, |token| token.line)
    }

    pub(crate) fn next(&mut self) -> &'a str {
        let text = self.peek();
        self.at += 1;
        text
    }

    pub(crate) fn take(&mut self, text: &str) -> bool {
        let found = self.peek() == text;
        self.at += usize::from(found);
        found
    }

    pub(crate) fn expect(&mut self, text: &str) -> Result<(), String> {
        if self.take(text) { Ok(()) } else { Err(self.unexpected(text)) }
    }

    pub(crate) fn unexpected(&self, wanted: &str) -> String {
        format!("line {}: {:?} where {wanted:?} should be", self.line(), self.peek())
    }

    pub(crate) fn integer(&mut self) -> Result<u64, String> {
        let negative = self.take("-");
        let value = integer(self.peek()).ok_or_else(|| self.unexpected("a number"))?;
        self.at += 1;
        Ok(if negative { value.wrapping_neg() } else { value })
    }

    /// Skips a directive that ends with its line.
    pub(crate) fn skip_line(&mut self) {
        let line = self.line();
        while self.at < self.tokens.len() && self.line() == line {
            self.at += 1;
        }
    }
}

/// Reads `12`, `0x1F` and `7U`.
pub(crate) fn integer(text: &str) -> Option<u64> {
    let digits = text.strip_suffix('U').unwrap_or(text);
    match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => digits.parse().ok(),
    }
}
