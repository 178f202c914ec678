//! One folder per class: `train/<class>/*` and `val/<class>/*`, or `<class>/*`.
//!
//! `classes.txt`, if present, gives the label order: one folder name per line (the key of the
//! class), optionally followed by a name for people, which need not be unique.

use std::collections::BTreeSet;
use std::path::Path;

use super::listing::{class_folders, entries};
use super::{Found, Location, Picture};
use crate::Error;

/// Names of folders with validation pictures; the first that exists is taken.
const VAL: [&str; 4] = ["val", "valid", "validation", "test"];

/// Depth of folders inside a class folder; a limit stops links that lead in circles.
const DEPTH: usize = 8;

/// Lists `train/` and, if there is one, `val/`.
pub(super) fn find_splits(root: &Path) -> Result<Found, Error> {
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
    let mut found = start(root, keys)?;
    found.train = pictures(&mut found, &train)?;
    if let Some(val) = &val {
        found.val = Some(pictures(&mut found, val)?);
    }
    Ok(found)
}

/// Lists a plain folder of class folders.
pub(super) fn find_classes(root: &Path) -> Result<Found, Error> {
    let mut found = start(root, class_folders(root)?)?;
    found.train = pictures(&mut found, root)?;
    // Files beside the class folders describe the data (README, classes.txt); only those that look
    // like pictures are worth a report.
    let looks_like_a_picture = |file: &str| image::ImageFormat::from_path(file).is_ok();
    found.left_out.retain(|left| left.file.contains('/') || looks_like_a_picture(&left.file));
    Ok(found)
}

fn start(root: &Path, keys: BTreeSet<String>) -> Result<Found, Error> {
    let (classes, warnings) = in_label_order(root, keys)?;
    Ok(Found { layout: "folders", root: root.into(), classes, warnings, ..Found::default() })
}

/// Keys and names of the classes, first those that `classes.txt` lists; and warnings.
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
    let warnings = if listed { keys.iter().map(warning).collect() } else { Vec::new() };
    classes.extend(keys.into_iter().map(|key| (key.clone(), key)));
    Ok((classes, warnings))
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
pub(super) fn pictures(found: &mut Found, folder: &Path) -> Result<Vec<Picture>, Error> {
    let labels: std::collections::HashMap<String, u32> =
        found.classes.iter().zip(0..).map(|((key, _), label)| (key.clone(), label)).collect();
    let mut pictures = Vec::new();
    for (name, path) in entries(folder)? {
        let below = path.strip_prefix(&found.root).unwrap_or(&path).to_owned();
        match labels.get(&name) {
            Some(&label) if path.is_dir() => collect(found, &path, label, DEPTH, &mut pictures)?,
            _ if path.is_dir() => {}
            _ => found.leave_out(below.to_string_lossy(), "not in a class folder"),
        }
    }
    Ok(pictures)
}

fn collect(
    found: &mut Found,
    folder: &Path,
    label: u32,
    depth: usize,
    pictures: &mut Vec<Picture>,
) -> Result<(), Error> {
    for (name, path) in entries(folder)? {
        let below = path.strip_prefix(&found.root).unwrap_or(&path).to_owned();
        if name.starts_with('.') {
            found.leave_out(below.to_string_lossy(), "a hidden file");
        } else if path.is_dir() && depth > 0 {
            collect(found, &path, label, depth - 1, pictures)?;
        } else {
            pictures.push(Picture { label, location: Location::File(below) });
        }
    }
    Ok(())
}
