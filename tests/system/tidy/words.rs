//! The words: one spelling, comments that stand alone, pages of a readable size.

use std::path::{Path, PathBuf};

use super::root;

/// Words with which a comment refers to something that a hover does not show.
const LEANING: [&str; 26] = [
    "it", "its", "they", "their", "theirs", "them", "those", "these", "that", "he", "she", "his",
    "ours", "which", "what", "where", "when", "who", "whose", "whom", "why", "how", "else", "so",
    "and", "this.",
];

/// Beginnings of words in British spelling; the project writes American English.
const BRITISH: [&str; 21] = [
    "colour",
    "centre",
    "neighbour",
    "behaviour",
    "grey",
    "normalis",
    "initialis",
    "optimis",
    "serialis",
    "synchronis",
    "organis",
    "recognis",
    "summaris",
    "generalis",
    "favour",
    "honour",
    "labelled",
    "travelled",
    "licence",
    "analyse",
    "catalogue",
];

/// Files that quote British words: this list, and a test of what people mistype.
const QUOTING: [&str; 2] = ["tests/system/tidy/words.rs", "proto/model/src/recipe/text/tests.rs"];

/// Tracked text files of the repository, relative to its root.
fn files(ends: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let ours = !["target", "runs", "node_modules"].contains(&name.as_str());
            if path.is_dir() && ours && !(name.starts_with('.') && name != ".ci") {
                folders.push(path);
            } else if ends.iter().any(|end| name.ends_with(end)) {
                found.push(path.strip_prefix(root()).unwrap().to_path_buf());
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no file ends with one of {ends:?}");
    found
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(root().join(file)).unwrap()
}

/// Reports every place that breaks a rule, not only the first.
fn none(found: Vec<String>, rule: &str) {
    assert!(found.is_empty(), "{rule}; {} places:\n{}", found.len(), found.join("\n"));
}

/// A hover shows one comment without its surroundings.
#[test]
fn every_doc_comment_stands_alone() {
    let mut found = Vec::new();
    let mut comments = 0;
    for file in files(&[".rs"]) {
        let mut inside = false;
        for (i, line) in read(&file).lines().enumerate() {
            let text = line.trim_start();
            let text = text.strip_prefix("///").or_else(|| text.strip_prefix("//!"));
            let opens = !std::mem::replace(&mut inside, text.is_some());
            let Some(text) = text.filter(|_| opens) else { continue };
            comments += 1;
            let first = text.split_whitespace().next().unwrap_or_default().to_lowercase();
            let word = first.trim_matches(['`', '[', '(', '*', ',', '\'']);
            if LEANING.contains(&word.strip_suffix('.').unwrap_or(word)) || word == "this." {
                found.push(format!("{}:{}:{text}", file.display(), i + 1));
            }
        }
    }
    assert!(comments > 2000, "{comments} comments");
    none(found, "a doc comment opens with a pronoun or a question word");
}

#[test]
fn words_are_spelled_the_american_way() {
    let mut found = Vec::new();
    for file in files(&[".rs", ".md", ".proto", ".cu", ".toml", ".sh", ".py", ".yaml", ".yml"]) {
        if QUOTING.iter().any(|other| file == Path::new(other)) {
            continue;
        }
        for (i, line) in read(&file).lines().enumerate() {
            let lower = line.to_lowercase();
            let word = BRITISH.iter().find(|word| {
                lower.match_indices(**word).any(|(at, _)| {
                    !lower[..at].ends_with(|before: char| before.is_ascii_alphabetic())
                })
            });
            if let Some(word) = word {
                found.push(format!("{}:{}: {word}", file.display(), i + 1));
            }
        }
    }
    none(found, "British spelling");
}

/// Links, tables, commands and drawings may be longer than text; so may the aligned headers of
/// kernels.
#[test]
fn lines_of_text_have_at_most_100_columns() {
    let mut found = Vec::new();
    for file in files(&[".rs", ".md", ".proto", ".cu"]) {
        let is_page = file.extension().is_some_and(|end| end == "md");
        let mut in_block = false;
        for (i, line) in read(&file).lines().enumerate() {
            in_block ^= is_page && line.trim_start().starts_with("```");
            let exempt = is_page && (in_block || line.starts_with('|') || line.contains("]("));
            // A string or a table row of numbers cannot always be broken; a comment can.
            let comment = line.trim_start();
            let table = ["//! |", "/// |"].iter().any(|start| comment.starts_with(start));
            let code = !is_page && (table || !comment.starts_with("//"));
            let most = if file.extension().is_some_and(|end| end == "cu") { 120 } else { 100 };
            if !exempt && !code && line.chars().count() > most {
                found.push(format!("{}:{}", file.display(), i + 1));
            }
        }
    }
    none(found, "more than 100 columns");
}

#[test]
fn the_first_pages_are_short_and_name_only_what_exists() {
    for (page, most) in [("README.md", 150), ("ARCHITECTURE.md", 120)] {
        let lines = read(Path::new(page)).lines().count();
        assert!(lines <= most, "{page} has {lines} lines, at most {most}");
    }
    let mut found = Vec::new();
    for file in files(&[".md"]) {
        let text = read(&file);
        for (i, line) in text.lines().enumerate() {
            let links = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            let links = links.filter(|link| !link.contains("://") && !link.starts_with('#'));
            let folder = file.parent().unwrap();
            for link in links {
                let path = folder.join(link.split('#').next().unwrap_or_default());
                if !root().join(path).exists() {
                    found.push(format!("{}:{}: link {link}", file.display(), i + 1));
                }
            }
            let is_map =
                ["ARCHITECTURE.md", "CONTRIBUTING.md"].iter().any(|m| file == Path::new(m));
            for name in line.split('`').skip(1).step_by(2).filter(|_| is_map) {
                let is_path = name.contains('/') && !name.contains([' ', '<', '*', '{', '$', '~']);
                if is_path && !name.starts_with('/') && !root().join(name).exists() {
                    found.push(format!("{}:{}: path {name}", file.display(), i + 1));
                }
            }
        }
    }
    none(found, "a link or a path to nothing");
}

/// The map has a heading for every crate.
#[test]
fn the_map_has_a_heading_for_every_crate() {
    let map = read(Path::new("ARCHITECTURE.md"));
    let manifest: toml::Value = toml::from_str(&read(Path::new("Cargo.toml"))).unwrap();
    for member in manifest["workspace"]["members"].as_array().unwrap() {
        let member = member.as_str().unwrap();
        let named = |line: &str| line.starts_with('#') && line.contains(&format!("`{member}`"));
        assert!(map.lines().any(named), "ARCHITECTURE.md has no heading with `{member}`");
    }
}
