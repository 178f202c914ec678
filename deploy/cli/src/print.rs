//! Lines on standard output, and errors as one readable paragraph.

use std::fmt::Display;
use std::io::Write;
use std::path::Path;

pub(crate) use coordinator::progress::{duration, thousands};
pub(crate) use net::quoted;

/// Prints a line; a closed pipe (`alexnet … | head`) is not an error.
pub(crate) fn line(text: impl Display) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Prints a line beside the results, on standard error.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints an error and its causes, one per line.
pub(crate) fn error(error: &anyhow::Error) {
    let mut text = format!("error: {error}");
    let mut printed = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Libraries often repeat their source in their own message.
        if !printed.contains(&cause) {
            text.push_str("\n  because: ");
            text.push_str(&cause);
            printed = cause;
        }
    }
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// A name from somebody's files, with its control characters escaped: they could rewrite the lines
/// around it.
pub(crate) fn name(text: &str) -> String {
    let escaped = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escaped).collect()
}

/// A path, printed as [`name`] prints names.
pub(crate) fn path(path: &Path) -> String {
    name(&path.to_string_lossy())
}

/// Path of this program as it was typed, for messages that suggest commands.
pub(crate) fn program() -> String {
    let started = std::env::args_os().next().unwrap_or_else(|| "alexnet".into());
    let path = Path::new(&started);
    let here = std::env::current_dir().unwrap_or_default();
    quoted(path.strip_prefix(here).unwrap_or(path))
}

/// A count with its word: `1 class`, `2 classes`.
pub(crate) fn count(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(n), if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_move_the_cursor() {
        assert_eq!(path(Path::new("a\u{1b}[2K\nü.jpg")), "a\\u{1b}[2K\\nü.jpg");
    }

    #[test]
    fn a_count_has_its_word() {
        assert_eq!(count(1, "class", "classes"), "1 class");
    }
}
