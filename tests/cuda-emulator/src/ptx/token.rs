//! PTX text into words and signs, each with its line.

/// One word, number or sign of PTX text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: u32,
}

/// Splits PTX text; comments and blanks go.
///
/// A word is anything PTX writes without a blank inside: `%r1`, `ld.global.v4.f32`, `0f3F800000`,
/// `$L__BB0_2`.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token<'_>>, String> {
    let bytes = text.as_bytes();
    let mut found = Vec::with_capacity(text.len() / 4);
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let from = at;
        match bytes[at] {
            b'\n' => {
                line += 1;
                at += 1;
            }
            b if b.is_ascii_whitespace() || b == 0 => at += 1,
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at += bytes[at..].iter().position(|&b| b == b'\n').unwrap_or(bytes.len() - at);
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                let end = text[at..].find("*/").ok_or("a comment without an end")?;
                line += text[at..at + end].matches('\n').count() as u32;
                at += end + 2;
            }
            b'"' => {
                let end = text[at + 1..].find('"').ok_or("a string without an end")?;
                at += end + 2;
                found.push(Token { text: &text[from..at], line });
            }
            b if is_word(b) => {
                // Two colons belong to a word, as in `.shared::cta`; one ends a label.
                while at < bytes.len() && (is_word(bytes[at]) || bytes[at..].starts_with(b"::")) {
                    at += if bytes[at] == b':' { 2 } else { 1 };
                }
                found.push(Token { text: &text[from..at], line });
            }
            b if b.is_ascii_punctuation() => {
                at += 1;
                found.push(Token { text: &text[from..at], line });
            }
            b => return Err(format!("line {line}: byte {b:#x} is not PTX")),
        }
    }
    Ok(found)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'%' | b'.')
}
