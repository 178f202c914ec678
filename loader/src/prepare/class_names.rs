//! Order and names of classes: from `classes.txt` and its relatives, else alphabetical; WordNet's
//! names of the 1,000 classes of ILSVRC are built in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::lists::is_wordnet_id;
use super::reading::{Reading, SourceFile};
use super::tree::composed;
use crate::Error;

/// Files that give the order of the classes, and names for them; the first that exists is used.
const ORDER: [&str; 4] = ["classes.txt", "class_names.txt", "classes.names", "labels.txt"];
/// Files that only give names.
const NAMES: [&str; 5] = [
    "LOC_synset_mapping.txt",
    "synset_words.txt",
    "synset_mapping.txt",
    "words.txt",
    "map_clsloc.txt",
];
/// Names of the 1,000 classes of ILSVRC-2012, as `n01440764 tench`.
const WORDNET: &str = include_str!("wordnet_names.txt");

/// Puts the classes into label order and names them; `folders` are looked through for lists.
///
/// # Errors
/// [`Error::Layout`] if a list names a class twice, [`Error::Io`].
pub(super) fn in_label_order(
    reading: &mut Reading,
    folders: &[PathBuf],
    keys: BTreeSet<String>,
) -> Result<(), Error> {
    match first_of(&ORDER, folders) {
        Some(path) => {
            let bytes = read(reading, &path)?;
            in_order_of(reading, keys, &path, &bytes)?;
        }
        None => in_order_of_names(reading, keys),
    }
    if let Some(path) = first_of(&NAMES, folders) {
        let text = text_of(&read(reading, &path)?);
        name(&mut reading.classes, &pairs(&text).collect());
    }
    Ok(())
}

/// Puts the classes into the order of a list, and names them as it does; `path` is the place of the
/// list, for messages.
///
/// # Errors
/// [`Error::Layout`] if the list names a class twice.
pub(super) fn in_order_of(
    reading: &mut Reading,
    mut keys: BTreeSet<String>,
    path: &Path,
    list: &[u8],
) -> Result<(), Error> {
    let listed = listed(&text_of(list), &keys);
    let mut seen = BTreeSet::new();
    if let Some((key, _)) = listed.iter().find(|(key, _)| !seen.insert(key.as_str())) {
        let why = format!("{key} is there twice; expected each class folder once");
        return Err(Error::Layout { path: path.into(), why });
    }
    keys.retain(|key| !seen.contains(key.as_str()));
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for key in &keys {
        reading.notes.push(format!("class {key} isn't in {file}; it comes after those"));
    }
    in_order_of_names(reading, keys);
    reading.classes.splice(0..0, listed);
    Ok(())
}

/// Puts the classes into the order of their names; names that all are numbers, of those.
pub(super) fn in_order_of_names(reading: &mut Reading, keys: BTreeSet<String>) {
    let mut keys: Vec<String> = keys.into_iter().collect();
    if keys.iter().all(|key| key.parse::<u64>().is_ok()) {
        keys.sort_by_key(|key| key.parse::<u64>().unwrap_or_default()); // 2 before 10
    }
    reading.classes = keys.into_iter().map(|key| (key.clone(), key)).collect();
}

/// Names the classes that have no name yet and are WordNet ids of ILSVRC's 1,000 classes.
pub(super) fn name_wordnet_ids(classes: &mut [(String, String)]) {
    if classes.iter().any(|(key, name)| key == name && is_wordnet_id(key)) {
        name(classes, &pairs(WORDNET).collect());
    }
}

fn name(classes: &mut [(String, String)], names: &HashMap<String, String>) {
    for (key, name) in classes.iter_mut().filter(|(key, name)| key == name) {
        if let Some(found) = names.get(key.as_str()) {
            name.clone_from(found);
        }
    }
}

/// Returns true if a file has the name of a list of classes.
pub(super) fn is_list(name: &str) -> bool {
    ORDER.contains(&name) || NAMES.contains(&name)
}

fn first_of(files: &[&str], folders: &[PathBuf]) -> Option<PathBuf> {
    let paths = folders.iter().flat_map(|folder| files.iter().map(|file| folder.join(file)));
    paths.into_iter().find(|path| path.is_file())
}

fn read(reading: &mut Reading, path: &Path) -> Result<Vec<u8>, Error> {
    reading.files.extend(SourceFile::at(&reading.root.clone(), path));
    std::fs::read(path).map_err(Error::io(path, "read"))
}

/// The text of a list, whatever mark of its encoding it begins with.
fn text_of(bytes: &[u8]) -> String {
    let text = match bytes {
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    };
    composed(text.trim_start_matches('\u{feff}'))
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|pair| unit(*pair)).collect();
    String::from_utf16_lossy(&units)
}

/// Keys and names, in the order of a list's lines, or of its numbers if every line has one.
fn listed(text: &str, keys: &BTreeSet<String>) -> Vec<(String, String)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut lines: Vec<Line> = lines.map(|line| Line::of(line, keys)).collect();
    let numbers: BTreeSet<u64> = lines.iter().filter_map(|line| line.number).collect();
    let first = numbers.first().copied().unwrap_or(2);
    let last = numbers.last().copied().unwrap_or(0);
    let in_a_row =
        numbers.len() == lines.len() && first <= 1 && last - first + 1 == lines.len() as u64;
    if in_a_row {
        lines.sort_by_key(|line| line.number);
    }
    lines.into_iter().map(|line| (line.key, line.name)).collect()
}

/// A line of a list of classes.
struct Line {
    number: Option<u64>,
    key: String,
    name: String,
}

impl Line {
    /// Understands `key`, `key name`, `number key`, `key number`, `number: key`, `key,name`, …
    fn of(line: &str, keys: &BTreeSet<String>) -> Self {
        let plain = |text: &str| text.trim().trim_matches(['"', '\'']).trim().to_owned();
        let whole = plain(line);
        if keys.contains(&whole) {
            return Self { number: None, name: whole.clone(), key: whole };
        }
        let cut = |c: char| c.is_whitespace() || matches!(c, ',' | ':' | ';' | '=');
        let Some((first, rest)) = line.split_once(cut) else {
            return Self { number: None, name: whole.clone(), key: whole };
        };
        let first = plain(first);
        let rest = plain(rest.trim_start_matches(cut));
        let number = |text: &str| text.parse::<u64>().ok();
        if keys.contains(&first) {
            return match number(&rest) {
                Some(n) => Self { number: Some(n), name: first.clone(), key: first },
                None => Self { number: None, key: first, name: rest },
            };
        }
        if let Some(n) = number(&first) {
            let Self { key, name, .. } = Self::of(&rest, keys);
            return Self { number: Some(n), key, name };
        }
        // `big dog 3`: the number is last.
        if let Some((key, n)) =
            line.rsplit_once(cut).and_then(|(k, n)| Some((plain(k), number(n)?)))
            && keys.contains(&key)
        {
            return Self { number: Some(n), name: key.clone(), key };
        }
        Self { number: None, key: first, name: rest }
    }
}

/// WordNet ids and the first of their names: `n01440764 tench, Tinca tinca`.
fn pairs(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    text.lines().filter_map(|line| {
        let line = line.trim().trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
        let (key, name) = line.split_once([' ', '\t', ',', ':'])?;
        let name = name.split(',').next().unwrap_or(name).trim();
        // `map_clsloc.txt` has a number between the two, and no spaces in names.
        let name = name.trim_start_matches(|c: char| c.is_ascii_digit()).trim().replace('_', " ");
        (is_wordnet_id(key) && !name.is_empty()).then(|| (key.to_owned(), name))
    })
}

/// Brings the keys of several splits together: names that differ in capitals, spaces, hyphens or
/// underscores only, and of which no split has both, are one class. Returns what each became.
pub(super) fn together(splits: &[BTreeSet<String>]) -> BTreeMap<String, String> {
    let all: BTreeSet<&String> = splits.iter().flatten().collect();
    let mut alike: BTreeMap<String, Vec<&String>> = BTreeMap::new();
    for key in all {
        alike.entry(loosely(key)).or_default().push(key);
    }
    let mut became = BTreeMap::new();
    for (loose, keys) in alike {
        let both =
            splits.iter().any(|split| keys.iter().filter(|k| split.contains(**k)).count() > 1);
        if loose.is_empty() || keys.len() < 2 || both {
            continue;
        }
        // The training pictures' name is kept.
        let first = splits.iter().find_map(|split| keys.iter().find(|key| split.contains(**key)));
        let Some(kept) = first else { continue };
        for key in keys.iter().filter(|key| *key != kept) {
            became.insert((*key).clone(), (*kept).clone());
        }
    }
    became
}

fn loosely(key: &str) -> String {
    key.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(keys: &[&str]) -> BTreeSet<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    #[test]
    fn lists_of_classes_are_understood_in_the_forms_that_tools_write() {
        let keys = set(&["cat", "big dog", "n01440764"]);
        let want = ["n01440764", "cat", "big dog"];
        for text in [
            "n01440764 tench\ncat\nbig dog\n",
            "n01440764\tfish\r\ncat\tcat\r\nbig dog\r\n",
            "0 n01440764\n1 cat\n2 big dog\n",
            "1: n01440764\n2: cat\n3: big dog\n",
            "cat 1\nbig dog 2\nn01440764 0\n",
            "2,big dog\n1,cat\n0,n01440764\n",
            "\"n01440764\"\n\"cat\"\n\"big dog\"\n",
        ] {
            let got: Vec<_> = listed(text, &keys).into_iter().map(|(key, _)| key).collect();
            assert_eq!(got, want, "{text:?}");
        }
        // Classes that are numbers aren't numbers of lines.
        let digits = set(&["0", "1", "2"]);
        assert_eq!(listed("2\n0\n1\n", &digits)[0].0, "2");
        assert_eq!(listed("2 two\n0 zero\n1 one\n", &digits)[0], ("2".into(), "two".into()));
    }

    #[test]
    fn the_thousand_names_are_built_in() {
        let names: HashMap<String, String> = pairs(WORDNET).collect();
        assert_eq!(names.len(), 1000);
        assert_eq!(names["n01440764"], "tench");
        let mapping = "n02119789 kit fox, Vulpes macrotis\nn02100735\tEnglish setter\n";
        let short: Vec<_> = pairs(mapping).map(|(_, name)| name).collect();
        assert_eq!(short, ["kit fox", "English setter"]);
        assert_eq!(pairs("n02119789 1 kit_fox").next().unwrap().1, "kit fox");
    }

    #[test]
    fn names_that_are_the_same_to_a_person_are_one_class_unless_a_split_has_both() {
        let one =
            together(&[set(&["Golden Retriever", "a", "A"]), set(&["golden_retriever", "a"])]);
        assert_eq!(one.get("golden_retriever").map(String::as_str), Some("Golden Retriever"));
        assert_eq!(one.len(), 1, "letters in both cases stay apart: {one:?}");
    }
}
