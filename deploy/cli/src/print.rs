//! Lines on standard output, and errors as one readable paragraph.

use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use coordinator::progress::{duration, thousands};
pub(crate) use net::quoted;

/// True if standard output is kept for [`result`].
static ONLY_RESULT: AtomicBool = AtomicBool::new(false);

/// Keeps standard output for [`result`]: from now on, [`line`] prints on standard error.
pub(crate) fn only_result() {
    ONLY_RESULT.store(true, Ordering::Relaxed);
}

/// Prints a line; a closed pipe (`alexnet … | head`) is not an error.
///
/// Control characters are escaped, since names of files may hold any.
pub(crate) fn line(text: impl Display) {
    match ONLY_RESULT.load(Ordering::Relaxed) {
        true => note(lines(&text.to_string())),
        false => result(text),
    }
}

/// Prints a line on standard output in any case, as [`line`] does.
pub(crate) fn result(text: impl Display) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", lines(&text.to_string())).and_then(|()| out.flush());
}

/// A text on one line without control characters and without marks that turn the direction of
/// writing: `\n` for a line break, `\u{1b}` for an escape.
pub(crate) fn visible(text: &str) -> String {
    text.chars()
        .map(|c| if is_hidden(c) { c.escape_default().to_string() } else { c.into() })
        .collect()
}

/// As [`visible`], for texts of several lines.
fn lines(text: &str) -> String {
    text.split('\n').map(visible).collect::<Vec<_>>().join("\n")
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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
    let _ = writeln!(std::io::stderr().lock(), "{}", lines(&text));
}

/// A path, printed as [`visible`] prints names.
pub(crate) fn path(path: &Path) -> String {
    visible(&path.to_string_lossy())
}

/// The last part of a path, such as `caffe-flowers` for a run directory.
pub(crate) fn last_part(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.into());
    visible(&absolute.file_name().unwrap_or(absolute.as_os_str()).to_string_lossy())
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
    fn names_of_files_cannot_write_on_the_screen() {
        assert_eq!(visible("a\u{1b}[2K\nb\u{202e}"), r"a\u{1b}[2K\nb\u{202e}");
        assert_eq!(lines("写真 é\nb\u{7}"), "写真 é\nb\\u{7}");
    }

    #[test]
    fn a_name_cannot_move_the_cursor() {
        assert_eq!(path(Path::new("a\u{1b}[2K\nü.jpg")), "a\\u{1b}[2K\\nü.jpg");
    }

    #[test]
    fn a_count_has_its_word() {
        assert_eq!(count(1, "class", "classes"), "1 class");
    }
}
