//! ILSVRC-2012: the archives of image-net.org, or Kaggle's copy, unpacked.
//!
//! Training: `ILSVRC2012_img_train.tar` (a tar of one tar per class), or Kaggle's
//! `ILSVRC/Data/CLS-LOC/train/<class>/`. Validation: `ILSVRC2012_img_val.tar` or Kaggle's
//! `…/val/*.JPEG`; their classes from `LOC_val_solution.csv` or the development kit. Labels are
//! the classes' WordNet ids in alphabetical order, as is usual (the development kit's own numbers
//! differ).

mod labels; // the classes of the validation pictures

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::listing::{class_folders, entries};
use super::{Archive, Location, Picture, Reading, folders};
use crate::Error;

use labels::Labels;

const TRAIN: &str = "ILSVRC2012_img_train.tar";
const VAL: &str = "ILSVRC2012_img_val.tar";
const SOLUTION: &str = "LOC_val_solution.csv";
/// Folders with the pictures of Kaggle's copy: below its top, below `ILSVRC`, or below `Data`.
const KAGGLE: [&str; 3] = ["ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "CLS-LOC"];

/// Whether `root` is ILSVRC-2012 in one of its forms.
pub(super) fn matches(root: &Path) -> bool {
    root.join(TRAIN).is_file() || kaggle(root).is_some()
}

fn kaggle(root: &Path) -> Option<PathBuf> {
    let pictures = KAGGLE.map(|below| root.join(below)).into_iter();
    let here = root.join(SOLUTION).is_file().then(|| root.to_owned());
    pictures.chain(here).find(|path| path.join("train").is_dir())
}

pub(super) fn find(root: &Path) -> Result<Reading, Error> {
    let mut reading = Reading {
        layout: "ilsvrc-2012",
        name: "ilsvrc-2012".into(),
        root: root.into(),
        ..Reading::default()
    };
    let labels = Labels::find(root)?;
    let pictures = kaggle(root);
    let train = match &pictures {
        Some(pictures) if !root.join(TRAIN).is_file() => Train::Folder(pictures.join("train")),
        _ => Train::Tar(classes_of_tar(&mut reading, &root.join(TRAIN))?),
    };
    let val = match &pictures {
        Some(pictures) if pictures.join("val").is_dir() => Some(pictures.join("val")),
        _ => Some(root.join(VAL)).filter(|path| path.is_file()),
    };

    let mut keys: BTreeSet<String> = match &train {
        Train::Tar(classes) => classes.keys().cloned().collect(),
        Train::Folder(folder) => class_folders(folder)?,
    };
    if val.is_some() {
        keys.extend(labels.classes());
    }
    let name = |key: String| (key.clone(), labels.name_of(&key).unwrap_or(key));
    reading.classes = keys.into_iter().map(name).collect();

    reading.train = match train {
        Train::Tar(classes) => train_in_tars(&mut reading, classes),
        Train::Folder(folder) => folders::pictures(&mut reading, &folder)?,
    };
    reading.val = val.map(|val| val_pictures(&mut reading, &val, &labels)).transpose()?;
    Ok(reading)
}

enum Train {
    /// Position and length of each class's tar in the archive.
    Tar(BTreeMap<String, (u64, u64)>),
    Folder(PathBuf),
}

fn classes_of_tar(
    reading: &mut Reading,
    path: &Path,
) -> Result<BTreeMap<String, (u64, u64)>, Error> {
    let archive = Archive::open(path)?;
    let (members, wrong) = archive.members();
    if let Some(wrong) = wrong {
        reading.leave_out(&archive.name, format!("the rest of the archive: {wrong}"));
    }
    let mut classes = BTreeMap::new();
    for member in members {
        match Path::new(&member.name).file_name().and_then(|name| name.to_str()) {
            Some(name) if name.ends_with(".tar") => {
                classes
                    .insert(name.trim_end_matches(".tar").into(), (member.offset, member.length));
            }
            _ => {
                reading.leave_out(format!("{}/{}", archive.name, member.name), "not a class's tar")
            }
        }
    }
    reading.archives.push(archive);
    Ok(classes)
}

fn train_in_tars(reading: &mut Reading, classes: BTreeMap<String, (u64, u64)>) -> Vec<Picture> {
    let number = reading.archives.len() - 1;
    let archive = reading.archives[number].clone();
    let labels = label_of(reading);
    let mut pictures = Vec::new();
    for (class, (start, length)) in classes {
        let (members, wrong) = archive.members_in(start, length);
        if let Some(wrong) = wrong {
            let file = format!("{}/{class}.tar", archive.name);
            reading.leave_out(file, format!("the rest of the archive: {wrong}"));
        }
        pictures.extend(members.into_iter().map(|member| Picture {
            label: labels[&class],
            location: Location::Member {
                archive: number as u32,
                name: format!("{class}.tar/{}", member.name).into(),
                offset: member.offset,
                length: member.length,
            },
        }));
    }
    pictures
}

fn label_of(reading: &Reading) -> HashMap<String, u32> {
    reading.classes.iter().zip(0..).map(|((key, _), label)| (key.clone(), label)).collect()
}

/// Lists the validation pictures in the order of their names; those without a known class are
/// left out.
fn val_pictures(reading: &mut Reading, val: &Path, labels: &Labels) -> Result<Vec<Picture>, Error> {
    let mut all = if val.is_dir() {
        let below = |path: &Path| path.strip_prefix(&reading.root).unwrap_or(path).to_owned();
        entries(val)?.into_iter().map(|(name, path)| (name, Location::File(below(&path)))).collect()
    } else {
        members_of_val(reading, val)?
    };
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    let label_of = label_of(reading);
    let mut pictures = Vec::new();
    for (name, location) in all {
        match labels.class_of(&name).and_then(|class| label_of.get(class)) {
            Some(&label) => pictures.push(Picture { label, location }),
            None => {
                let reason = format!("its class isn't in {}", labels.from);
                reading.leave_out(format!("{}/{name}", val.display()), reason);
            }
        }
    }
    Ok(pictures)
}

fn members_of_val(reading: &mut Reading, val: &Path) -> Result<Vec<(String, Location)>, Error> {
    let archive = Archive::open(val)?;
    let (members, wrong) = archive.members();
    if let Some(wrong) = wrong {
        reading.leave_out(&archive.name, format!("the rest of the archive: {wrong}"));
    }
    let number = reading.archives.len() as u32;
    reading.archives.push(archive);
    let location = |member: super::archive::Member| {
        let base = member.name.rsplit('/').next().unwrap_or(&member.name).to_string();
        let (offset, length) = (member.offset, member.length);
        (base, Location::Member { archive: number, name: member.name.into(), offset, length })
    };
    Ok(members.into_iter().map(location).collect())
}

#[cfg(test)]
mod tests;
