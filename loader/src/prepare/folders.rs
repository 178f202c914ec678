//! One folder per class: `train/<class>/*` and `val/<class>/*`, or `<class>/*`.
//!
//! `classes.txt`, if present, gives the label order: one folder name per line (the key of the
//! class), optionally followed by a name for people, which need not be unique.

use std::collections::BTreeSet;
use std::path::Path;

use super::listing::{class_folders, entries};
use super::{Location, Picture, Reading};
use crate::Error;

/// Names of folders with validation pictures; the first that exists is taken.
const VAL: [&str; 4] = ["val", "valid", "validation", "test"];

/// Depth of folders inside a class folder; a limit stops links that lead in circles.
const DEPTH: usize = 8;

/// Lists `train/` and, if there is one, `val/`.
pub(super) fn find_splits(root: &Path) -> Result<Reading, Error> {
    let train = root.join("train");
    let val = VAL.map(|name| root.join(name)).into_iter().find(|path| path.is_dir());
    let mut keys = class_folders(&train)?;
    if let Some(val) = &val {
        let own = class_folders(val)?;
        if own.is_empty() && !entries(val)?.is_empty() {
            let why = "validation pictures without class folders; expected val/<class>/*, or \
                       Kaggle's LOC_val_solution.csv beside them";
            return Err(Error::Layout { path: val.clone(), why: why.into() });
        }
        keys.extend(own);
    }
    let mut reading = start(root, keys)?;
    reading.train = pictures(&mut reading, &train)?;
    if let Some(val) = &val {
        reading.val = Some(pictures(&mut reading, val)?);
    }
    Ok(reading)
}

/// Lists a plain folder of class folders.
pub(super) fn find_classes(root: &Path) -> Result<Reading, Error> {
    let mut reading = start(root, class_folders(root)?)?;
    reading.train = pictures(&mut reading, root)?;
    // Files beside the class folders are about the data (README, classes.txt), not lost pictures.
    reading
        .left_out
        .retain(|left| left.file.contains('/') || picture::has_picture_name(&left.file));
    Ok(reading)
}

fn start(root: &Path, keys: BTreeSet<String>) -> Result<Reading, Error> {
    let (classes, notes) = in_label_order(root, keys)?;
    Ok(Reading { layout: "folders", root: root.into(), classes, notes, ..Reading::default() })
}

/// Keys and names of the classes, first those that `classes.txt` lists; and notes.
type Classes = (Vec<(String, String)>, Vec<String>);

fn in_label_order(root: &Path, mut keys: BTreeSet<String>) -> Result<Classes, Error> {
    let path = root.join("classes.txt");
    let mut classes = Vec::new();
    if path.is_file() {
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path, "read"))?;
        let mut seen = BTreeSet::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (key, name) = key_and_name(line, &keys);
            if !seen.insert(key) {
                let why = format!("{key} is there twice; expected each class folder once");
                return Err(Error::Layout { path, why });
            }
            classes.push((key.to_string(), name.to_string()));
        }
        keys.retain(|key| !seen.contains(key.as_str()));
    }
    let listed = !classes.is_empty();
    let warning = |key: &String| format!("class {key} isn't in classes.txt; it comes after those");
    let notes = if listed { keys.iter().map(warning).collect() } else { Vec::new() };
    classes.extend(keys.into_iter().map(|key| (key.clone(), key)));
    Ok((classes, notes))
}

/// Splits a line: `n01440764 tench`, or only a folder's name, which may contain spaces.
fn key_and_name<'a>(line: &'a str, keys: &BTreeSet<String>) -> (&'a str, &'a str) {
    if keys.contains(line) {
        return (line, line);
    }
    match line.split_once(char::is_whitespace) {
        Some((key, name)) => (key, name.trim()),
        None => (line, line),
    }
}

/// Lists the pictures in the class folders of `folder`; all other files are left out.
pub(super) fn pictures(reading: &mut Reading, folder: &Path) -> Result<Vec<Picture>, Error> {
    let labels: std::collections::HashMap<String, u32> =
        reading.classes.iter().zip(0..).map(|((key, _), label)| (key.clone(), label)).collect();
    let mut pictures = Vec::new();
    for (name, path) in entries(folder)? {
        let below = path.strip_prefix(&reading.root).unwrap_or(&path).to_owned();
        match labels.get(&name) {
            Some(&label) if path.is_dir() => collect(reading, &path, label, DEPTH, &mut pictures)?,
            _ if path.is_dir() => {}
            _ => reading.leave_out(below.to_string_lossy(), "not in a class folder"),
        }
    }
    Ok(pictures)
}

fn collect(
    reading: &mut Reading,
    folder: &Path,
    label: u32,
    depth: usize,
    pictures: &mut Vec<Picture>,
) -> Result<(), Error> {
    for (name, path) in entries(folder)? {
        let below = path.strip_prefix(&reading.root).unwrap_or(&path).to_owned();
        if name.starts_with('.') {
            reading.leave_out(below.to_string_lossy(), "a hidden file");
        } else if path.is_dir() && depth > 0 {
            collect(reading, &path, label, depth - 1, pictures)?;
        } else {
            pictures.push(Picture { label, location: Location::File(below) });
        }
    }
    Ok(())
}
