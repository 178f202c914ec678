//! The classes of labels: numbers stay as they are, words get numbers in alphabetical order or in
//! the order of `classes.txt`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Label;
use crate::Error;
use crate::prepare::reading::Reading;

/// Upper bound for the number of classes; a larger number is no label.
const MAX_CLASSES: u64 = 100_000;
/// Files with the names of classes, one per line.
const NAMES: [&str; 2] = ["classes.txt", "classnames.txt"];
/// Number of words from which they are compared with the number of pictures.
const MANY: usize = 20;
/// Unused numbers that nobody minds.
const FEW_UNUSED: usize = 20;

/// The classes, and the label of each.
#[derive(Debug, Default)]
pub(super) struct Classes {
    /// Keys and names, in label order.
    pub(super) keys_and_names: Vec<(String, String)>,
    words: BTreeMap<String, u32>,
}

impl Classes {
    /// Finds the classes of all labels.
    pub(super) fn of<'a>(
        reading: &mut Reading,
        labels: impl Iterator<Item = &'a Label>,
    ) -> Result<Self, Error> {
        let (mut numbers, mut words) = (BTreeSet::new(), BTreeSet::new());
        let (mut n, mut as_bytes, mut as_text) = (0_usize, false, false);
        for label in labels {
            n += 1;
            match label {
                Label::Bytes(number) => _ = numbers.insert(*number),
                Label::Number(number) => _ = numbers.insert(*number),
                Label::Word(word) => _ = words.insert(word.as_str()),
                Label::None | Label::Unknown(_) => {}
            }
            as_bytes |= matches!(label, Label::Bytes(_));
            as_text |= !matches!(label, Label::Bytes(_));
        }
        let names = names(reading)?;
        if as_bytes && as_text {
            reading.doubt(
                "some labels are numbers written as bytes, others are written as text; which \
                 number is meant can't be told (a byte 51 may be the text 3); write all of them as \
                 text",
                None,
            );
        }
        if words.is_empty() {
            return numbered(reading, &numbers, names);
        }
        if let (Some(number), Some(word)) = (numbers.first(), words.first()) {
            reading.doubt(
                format!(
                    "some labels are numbers ({number}) and others are words ({word}); expected \
                     only numbers or only words"
                ),
                None,
            );
        }
        if words.len() > MANY && 2 * words.len() > n {
            let word = words.first().copied().unwrap_or_default();
            reading.doubt(
                format!(
                    "{n} pictures have {} different labels, such as {word:?}: they look like \
                     descriptions, not like classes",
                    words.len()
                ),
                None,
            );
        }
        let mut words: BTreeSet<String> = words.into_iter().map(String::from).collect();
        words.extend(numbers.iter().map(u64::to_string));
        Ok(worded(words, &names))
    }

    /// The label of a class; `None` for labels that were not seen.
    pub(super) fn of_label(&self, label: &Label) -> Option<u32> {
        match label {
            Label::Number(number) | Label::Bytes(number) if self.words.is_empty() => {
                u32::try_from(*number).ok()
            }
            Label::Number(number) | Label::Bytes(number) => {
                self.words.get(&number.to_string()).copied()
            }
            Label::Word(word) => self.words.get(word).copied(),
            Label::None | Label::Unknown(_) => None,
        }
    }
}

fn worded(mut words: BTreeSet<String>, names: &[(String, String)]) -> Classes {
    let mut keys_and_names = Vec::new();
    for (key, name) in names {
        // A line is a class, or a class and its name.
        let (first, rest) = name.split_once(char::is_whitespace).unwrap_or((name, name));
        let pairs = [(name.as_str(), name.as_str()), (key, name), (first, rest.trim())];
        if let Some((key, name)) = pairs.into_iter().find(|(key, _)| words.contains(*key)) {
            words.remove(key);
            keys_and_names.push((key.into(), name.into()));
        }
    }
    keys_and_names.extend(words.into_iter().map(|word| (word.clone(), word)));
    let words = keys_and_names.iter().zip(0..).map(|((key, _), i)| (key.clone(), i)).collect();
    Classes { keys_and_names, words }
}

fn numbered(
    reading: &mut Reading,
    numbers: &BTreeSet<u64>,
    names: Vec<(String, String)>,
) -> Result<Classes, Error> {
    let most = numbers.last().map_or(0, |most| most.saturating_add(1));
    if most > MAX_CLASSES {
        let why = format!("a label of {}, expected at most {}", most - 1, MAX_CLASSES - 1);
        return Err(Error::Layout { path: reading.root.clone(), why });
    }
    let most = most as usize;
    if most > 2 * numbers.len() + FEW_UNUSED && names.len() < most {
        reading.doubt_partial(format!(
            "labels go up to {}, and only {} different ones are used: {} classes would have no \
             picture; check the labels, name all classes in classes.txt, or accept empty classes \
             with --partial",
            most - 1,
            numbers.len(),
            most - numbers.len()
        ));
    }
    let n = most.max(names.len());
    let class = |i: usize| match names.get(i) {
        Some((key, name)) if *key != *name => (key.clone(), name.clone()),
        Some((_, name)) => (i.to_string(), name.clone()),
        None => (i.to_string(), i.to_string()),
    };
    Ok(Classes { keys_and_names: (0..n).map(class).collect(), words: BTreeMap::new() })
}

/// Keys and names of classes by number, from a list beside the tars, or from what this program
/// wrote when it made them.
fn names(reading: &mut Reading) -> Result<Vec<(String, String)>, Error> {
    let root = reading.root.clone();
    for path in NAMES.map(|name| root.join(name)) {
        if path.is_file() {
            reading.source_file(&path);
            let bytes = std::fs::read(&path).map_err(Error::io(&path, "read"))?;
            let text = String::from_utf8_lossy(&bytes);
            let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
            let names = lines.filter(|line| !line.is_empty());
            return Ok(names.map(|name| (name.to_string(), name.to_string())).collect());
        }
    }
    Ok(own_names(&root).unwrap_or_default())
}

/// Keys and names of the classes of a data set of this program.
fn own_names(root: &Path) -> Option<Vec<(String, String)>> {
    let json = std::fs::read(root.join(crate::dataset::DESCRIPTION)).ok()?;
    let json: serde_json::Value = serde_json::from_slice(&json).ok()?;
    let text = |class: &serde_json::Value, key| class.get(key)?.as_str().map(String::from);
    let classes = json.get("classes")?.as_array()?.iter();
    classes.map(|class| Some((text(class, "key")?, text(class, "name")?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by the fuzzer: one more than the largest number is no number.
    #[test]
    fn the_largest_number_is_no_label() {
        let said = Classes::of(&mut Reading::default(), [Label::Number(u64::MAX)].iter());
        let said = said.unwrap_err().to_string();
        assert!(said.contains("expected at most 99999"), "{said}");
    }
}
