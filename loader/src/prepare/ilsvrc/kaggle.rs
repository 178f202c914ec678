//! Kaggle's copy of ILSVRC-2012, unpacked: `ILSVRC/Data/CLS-LOC/train/<class>/` and
//! `…/val/*.JPEG` with `LOC_val_solution.csv`.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::SOLUTION;
use super::edition::EDITIONS;
use super::held_out::{self, Source};
use super::lists::Lists;
use crate::Error;
use crate::prepare::listing::class_folders;
use crate::prepare::purpose::Purpose;
use crate::prepare::{Reading, folders};

/// Folders with the pictures of Kaggle's copy: below its top, below `ILSVRC`, or below `Data`.
pub(super) const PICTURES: [&str; 3] = ["ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "CLS-LOC"];

/// The folder with the pictures of Kaggle's copy, if `root` is one.
fn pictures(root: &Path) -> Option<PathBuf> {
    let pictures = PICTURES.map(|below| root.join(below)).into_iter();
    let here = root.join(SOLUTION).is_file().then(|| root.to_owned());
    pictures.chain(here).find(|path| path.join("train").is_dir())
}

/// Reads Kaggle's copy; `None` if `root` isn't one.
pub(in crate::prepare) fn find(root: &Path) -> Result<Option<Reading>, Error> {
    let Some(pictures) = pictures(root) else {
        return Ok(None);
    };
    let mut reading = Reading {
        layout: "ilsvrc-2012",
        name: "ilsvrc-2012".into(),
        root: root.into(),
        ..Reading::default()
    };
    let lists = Lists::find(root, &EDITIONS[0], &mut reading)?;
    let (train, val) = (pictures.join("train"), pictures.join("val"));
    let mut keys: BTreeSet<String> = class_folders(&train)?;
    if val.is_dir() {
        keys.extend(lists.classes(Purpose::Val));
    }
    let name = |key: String| (key.clone(), lists.name_of(&key).unwrap_or(key));
    reading.classes = keys.into_iter().map(name).collect();
    reading.train = folders::pictures(&mut reading, &train)?;
    if val.is_dir() {
        let source = Source::new(Purpose::Val, val);
        reading.val = Some(held_out::pictures(&mut reading, source, &lists, &HashMap::new())?);
    }
    Ok(Some(reading))
}
