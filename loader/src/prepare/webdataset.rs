//! WebDataset tars: `key.jpg` and `key.cls` (or `key.json` with a `label`) beside each other.
//!
//! A tar with `val`, `valid`, `validation` or `test` as a word of its name holds validation
//! pictures. Labels are whole numbers, or words that become classes in alphabetical order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Archive, Location, Picture, Reading};
use crate::Error;

const PICTURES: [&str; 9] = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "img"];
const VAL: [&str; 4] = ["val", "valid", "validation", "test"];
/// Upper bound for the number of classes; a larger number is no label.
const MAX_CLASSES: u64 = 100_000;

/// The picture and the label of one key.
#[derive(Debug, Default)]
struct Sample {
    picture: Option<Location>,
    label: Option<String>,
}

pub(super) fn find(root: &Path, tars: Vec<PathBuf>) -> Result<Reading, Error> {
    let mut reading = Reading { layout: "webdataset", root: root.into(), ..Reading::default() };
    let (mut train, mut val) = (Vec::new(), Vec::new());
    for tar in &tars {
        let samples = samples(&mut reading, tar)?;
        if is_val(tar) { val.extend(samples) } else { train.extend(samples) }
    }
    let names: BTreeSet<&String> = train.iter().chain(&val).map(|(label, _)| label).collect();
    let labels = labels(root, &names)?;
    let label_of = labels.of;
    reading.classes = labels.classes;
    let pictures = |samples: Vec<(String, Location)>| {
        let picture =
            |(label, location): (String, Location)| Picture { label: label_of[&label], location };
        samples.into_iter().map(picture).collect::<Vec<_>>()
    };
    reading.val = tars.iter().any(|tar| is_val(tar)).then(|| pictures(val));
    reading.train = pictures(train);
    if root.is_file() {
        reading.name = root.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    }
    Ok(reading)
}

fn is_val(tar: &Path) -> bool {
    let name = tar.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    name.split(|c: char| !c.is_alphabetic()).any(|word| VAL.contains(&word))
}

/// Lists label and location of each picture in a tar, in the order of keys.
fn samples(reading: &mut Reading, path: &Path) -> Result<Vec<(String, Location)>, Error> {
    let archive = Archive::open(path)?;
    let number = reading.archives.len() as u32;
    let (members, wrong) = archive.members();
    if let Some(wrong) = wrong {
        reading.leave_out(&archive.name, format!("the rest of the archive: {wrong}"));
    }
    let mut samples: BTreeMap<String, Sample> = BTreeMap::new();
    for member in members {
        let base = member.name.rfind('/').map_or(0, |at| at + 1);
        let Some(dot) = member.name[base..].find('.').filter(|dot| *dot > 0) else {
            reading.leave_out(format!("{}/{}", archive.name, member.name), "no key.kind name");
            continue;
        };
        let (key, kind) = member.name.split_at(base + dot);
        let kind = kind[1..].to_lowercase();
        let sample = samples.entry(key.to_string()).or_default();
        let read = || archive.read(member.offset, member.length).unwrap_or_default();
        if PICTURES.contains(&kind.as_str()) {
            let (offset, length) = (member.offset, member.length);
            let name = member.name.clone().into();
            sample.picture = Some(Location::Member { archive: number, name, offset, length });
        } else if kind == "cls" {
            sample.label = Some(String::from_utf8_lossy(&read()).trim().to_string());
        } else if kind == "json" && sample.label.is_none() {
            sample.label = json_label(&read());
        }
    }
    let mut complete = Vec::new();
    for (key, sample) in samples {
        match (sample.picture, sample.label) {
            (Some(picture), Some(label)) if !label.is_empty() => complete.push((label, picture)),
            (Some(_), _) => {
                reading.leave_out(
                    format!("{}/{key}", archive.name),
                    "no label (.cls, or .json with label)",
                );
            }
            (None, _) => {
                reading.leave_out(format!("{}/{key}", archive.name), "no picture with this key")
            }
        }
    }
    reading.archives.push(archive);
    Ok(complete)
}

fn json_label(json: &[u8]) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(json).ok()?;
    match ["label", "cls", "class"].iter().find_map(|key| json.get(key))? {
        serde_json::Value::String(label) => Some(label.trim().to_string()),
        serde_json::Value::Number(label) => Some(label.to_string()),
        _ => None,
    }
}

struct Labels {
    of: BTreeMap<String, u32>,
    /// Keys and names, in label order.
    classes: Vec<(String, String)>,
}

/// Assigns labels: numbers stay as they are (`classes.txt` beside the tars may name them), words
/// get numbers in alphabetical order.
fn labels(root: &Path, written: &BTreeSet<&String>) -> Result<Labels, Error> {
    let numbers: Option<Vec<u64>> = written.iter().map(|label| label.parse().ok()).collect();
    let Some(numbers) = numbers else {
        let classes = written.iter().map(|label| ((*label).clone(), (*label).clone())).collect();
        let of = written.iter().zip(0..).map(|(label, i)| ((*label).clone(), i)).collect();
        return Ok(Labels { of, classes });
    };
    let most = numbers.iter().copied().max().map_or(0, |most| most.saturating_add(1));
    if most > MAX_CLASSES {
        let why = format!("a label of {}, expected at most {}", most - 1, MAX_CLASSES - 1);
        return Err(Error::Layout { path: root.into(), why });
    }
    let folder = if root.is_file() { root.parent().unwrap_or(Path::new(".")) } else { root };
    let path = folder.join("classes.txt");
    let names = match path.is_file() {
        true => std::fs::read_to_string(&path).map_err(Error::io(&path, "read"))?,
        false => String::new(),
    };
    let names: Vec<&str> = names.lines().map(str::trim).filter(|name| !name.is_empty()).collect();
    let n = (most as usize).max(names.len());
    let class = |i: usize| {
        let key = i.to_string();
        let name = names.get(i).map_or(key.clone(), |name| (*name).to_string());
        (key, name)
    };
    let of = written.iter().zip(&numbers).map(|(label, n)| ((*label).clone(), *n as u32)).collect();
    Ok(Labels { of, classes: (0..n).map(class).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Read in review for the fuzzer: one more than the largest number is none.
    #[test]
    fn the_largest_number_is_no_label() {
        let written = u64::MAX.to_string();
        let said = labels(Path::new("."), &BTreeSet::from([&written])).err().unwrap();
        assert!(said.to_string().contains("expected at most 99999"), "{said}");
    }
}
