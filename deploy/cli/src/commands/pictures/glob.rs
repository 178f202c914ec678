//! Patterns that no shell expanded: `*`, `?`, `[a-z]`, `[!a]`, and `**` for folders at any depth.
//!
//! As in a shell, a hidden name matches only a pattern that begins with a dot. A name that is not
//! UTF-8 is matched with U+FFFD in place of its odd bytes.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Returns true if a path has any character of a pattern.
pub(super) fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '['])
}

/// All paths that a pattern matches, in order of their names; and a sentence for each folder that
/// can't be listed.
pub(super) fn expand(pattern: &Path) -> (Vec<PathBuf>, Vec<String>) {
    let mut problems = Vec::new();
    let mut paths = vec![PathBuf::new()];
    for component in pattern.components() {
        paths = match component {
            Component::Normal(name) if name == "**" => {
                let mut seen = HashSet::new();
                let mut below = Vec::new();
                paths.iter().for_each(|path| folders(path, &mut seen, &mut below, &mut problems));
                below
            }
            Component::Normal(name) if is_pattern(Path::new(name)) => {
                let name: Vec<char> = name.to_string_lossy().chars().collect();
                let matching =
                    |path: &PathBuf| children(path, &mut problems, |child| matches(&name, child));
                paths.iter().flat_map(matching).collect()
            }
            plain => paths.iter().map(|path| path.join(plain)).collect(),
        };
    }
    paths.retain(|path| path.symlink_metadata().is_ok());
    (paths, problems)
}

/// The children of a folder whose names match; a path that is no folder has none.
fn children(
    folder: &Path,
    problems: &mut Vec<String>,
    matches: impl Fn(&[char]) -> bool,
) -> Vec<PathBuf> {
    let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    if !listed.is_dir() {
        return Vec::new();
    }
    let names = std::fs::read_dir(listed)
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
    let mut names: Vec<std::ffi::OsString> = match names {
        Ok(names) => names,
        Err(error) => {
            problems.push(format!("{} can't be listed: {error}", crate::print::path(listed)));
            return Vec::new();
        }
    };
    let is_match = |name: &OsStr| matches(&name.to_string_lossy().chars().collect::<Vec<_>>());
    names.retain(|name| is_match(name));
    names.sort();
    names.into_iter().map(|name| folder.join(name)).collect()
}

/// A folder and all folders below it that are not hidden, each once.
fn folders(
    folder: &Path,
    seen: &mut HashSet<(u64, u64)>,
    found: &mut Vec<PathBuf>,
    problems: &mut Vec<String>,
) {
    let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(about) = std::fs::metadata(listed) else { return };
    if !about.is_dir() || !seen.insert((about.dev(), about.ino())) {
        return;
    }
    found.push(folder.to_path_buf());
    for child in children(folder, problems, |name| name.first() != Some(&'.')) {
        // A link may lead anywhere, also to a folder above.
        if child.symlink_metadata().is_ok_and(|about| about.is_dir()) {
            folders(&child, seen, found, problems);
        }
    }
}

/// Returns true if a name matches one component of a pattern.
fn matches(pattern: &[char], name: &[char]) -> bool {
    if name.first() == Some(&'.') && pattern.first() != Some(&'.') {
        return false;
    }
    // After a mismatch, the last star takes one character more.
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p + 1, n));
            p += 1;
        } else if let Some(after) = one(pattern, p, name[n]) {
            (p, n) = (after, n + 1);
        } else if let Some((after_star, taken)) = star {
            star = Some((after_star, taken + 1));
            (p, n) = (after_star, taken + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// The position behind the element at `p`, if that element matches this character.
fn one(pattern: &[char], p: usize, c: char) -> Option<usize> {
    match *pattern.get(p)? {
        '?' => Some(p + 1),
        '[' => match set(&pattern[p + 1..]) {
            Some((set, length)) => {
                let (set, negated) = match set {
                    ['!' | '^', rest @ ..] => (rest, true),
                    set => (set, false),
                };
                (contains(set, c) != negated).then_some(p + 1 + length)
            }
            None => (c == '[').then_some(p + 1), // without its end, a bracket is a bracket
        },
        plain => (plain == c).then_some(p + 1),
    }
}

/// The characters between the brackets, and the length up to and with the closing one.
fn set(pattern: &[char]) -> Option<(&[char], usize)> {
    let negation = usize::from(matches!(pattern.first(), Some('!' | '^')));
    // A bracket that comes first is one of the characters.
    let end = pattern.iter().skip(negation + 1).position(|c| *c == ']')? + negation + 1;
    Some((&pattern[..end], end + 1))
}

fn contains(set: &[char], c: char) -> bool {
    match set {
        [from, '-', to, rest @ ..] => (*from..=*to).contains(&c) || contains(rest, c),
        [first, rest @ ..] => *first == c || contains(rest, c),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_a_shell() {
        let matches = |pattern: &str, name: &str| {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            matches(&chars(pattern), &chars(name))
        };
        for (pattern, name) in [
            ("*.jpg", "a.b.jpg"),
            ("*", "a"),
            ("a*b*c", "aXbXbc"),
            ("?.jpg", "ü.jpg"),
            ("[a-c]x", "bx"),
            ("[!a-c]x", "dx"),
            ("[]]", "]"),
            ("a[1", "a[1"),
            (".*", ".hidden"),
            ("IMG_[0-9]*", "IMG_7 of 9"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("*.jpg", "a.jpeg"), ("*", ".hidden"), ("[!a]", "a"), ("?", "ab"), ("a*b", "a")]
        {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_finds_files_in_folders_at_any_depth_and_each_once() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["a/1.jpg", "a/b/2.jpg", "a/.c/3.jpg", "4.jpg", "a/5.png"] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        std::os::unix::fs::symlink("..", dir.path().join("a/up")).unwrap();
        let expand = |pattern: &str| {
            let (paths, problems) = super::expand(&dir.path().join(pattern));
            assert_eq!(problems, [""; 0]);
            let below = |path: PathBuf| path.strip_prefix(dir.path()).unwrap().to_path_buf();
            paths.into_iter().map(below).collect::<Vec<_>>()
        };
        assert_eq!(expand("**/*.jpg"), ["4.jpg", "a/1.jpg", "a/b/2.jpg"].map(PathBuf::from));
        assert_eq!(expand("*/*.???"), ["a/1.jpg", "a/5.png"].map(PathBuf::from));
        assert_eq!(expand("*/b/2.jpg"), [PathBuf::from("a/b/2.jpg")]);
        assert!(expand("x*/1.jpg").is_empty());
    }
}
