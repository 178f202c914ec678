//! Paths in commands that people copy from a message into a shell.

use std::path::Path;

/// Returns a path as one word of a command for a POSIX shell; a path that needs no quotes is
/// unchanged.
pub fn quoted(path: impl AsRef<Path>) -> String {
    let mut path = path.as_ref().to_string_lossy().into_owned();
    if path.starts_with('-') {
        path.insert_str(0, "./"); // or it would be read as an option
    }
    if !path.is_empty() && path.chars().all(is_plain) {
        path
    } else if path.chars().any(char::is_control) {
        format!("$'{}'", path.chars().map(escaped).collect::<String>())
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

/// Returns true if a character means only itself to every shell, wherever it stands in a word.
fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || "/._-+,:@".contains(c)
}

/// A character between `$'` and `'`; control characters would change the terminal, not the name.
fn escaped(c: char) -> String {
    match c {
        '\'' | '\\' => format!("\\{c}"),
        c if c.is_control() => {
            c.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("\\{byte:03o}")).collect()
        }
        c => c.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_that_a_shell_would_misread_are_quoted() {
        let said = [
            ("runs/caffe-flowers", "runs/caffe-flowers"),
            ("/data/größe_2+a,b:c@d", "/data/größe_2+a,b:c@d"),
            ("r seven ü", "'r seven ü'"),
            ("it's", r"'it'\''s'"),
            ("$HOME", "'$HOME'"),
            ("~a", "'~a'"),
            ("a;b&c|d", "'a;b&c|d'"),
            ("a\\b", "'a\\b'"),
            ("*.jpg", "'*.jpg'"),
            ("-x", "./-x"),
            ("-a b", "'./-a b'"),
            ("", "''"),
            ("a\nb'c", r"$'a\012b\'c'"),
            ("\u{1b}[2K", r"$'\033[2K'"),
        ];
        for (path, word) in said {
            assert_eq!(quoted(path), word);
        }
    }

    /// The shell itself is the judge.
    #[test]
    fn a_shell_reads_the_quoted_path_as_the_path() {
        for path in ["r seven ü", "it's \"x\"", "$(id)`id`", "a\\b\\\\c", "{a,b}*?[x]", "#a", "!b"]
        {
            let script = format!("printf %s {}", quoted(path));
            let run = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&run.stdout), path, "{script}");
        }
    }
}
