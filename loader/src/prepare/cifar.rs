//! CIFAR-10 and CIFAR-100, in the binary and in the Python version.
//!
//! Binary: a label byte (CIFAR-100: two, coarse and fine), then 1,024 bytes each of red, green and
//! blue. Python: pickled dictionaries with `data` and `labels` (CIFAR-100: `fine_labels`). The test
//! pictures serve as validation pictures, as is usual.

mod binary;
mod python;

use std::path::{Path, PathBuf};

use super::listing::entries;
use super::{Picture, Reading};
use crate::Error;

/// Side of the pictures, which is not changed.
pub(super) const SIDE: usize = 32;
const PIXELS: usize = 3 * SIDE * SIDE;
/// Number of pictures in every batch of CIFAR-10 as it is distributed.
const BATCH: usize = 10_000;
const BATCHES: usize = 5;

/// Class names in label order, for batches without a list of names.
const NAMES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// A version of the data set.
#[derive(Debug)]
struct Version {
    layout: &'static str,
    n_classes: usize,
    /// Beginning of the names of training batches.
    train: &'static str,
    test: &'static str,
    ending: &'static str,
    /// File with the names of the classes.
    names: &'static str,
}

const VERSIONS: [Version; 4] = [
    Version {
        layout: "cifar-10",
        n_classes: 10,
        train: "data_batch_",
        test: "test_batch",
        ending: ".bin",
        names: "batches.meta.txt",
    },
    Version {
        layout: "cifar-10",
        n_classes: 10,
        train: "data_batch_",
        test: "test_batch",
        ending: "",
        names: "batches.meta",
    },
    Version {
        layout: "cifar-100",
        n_classes: 100,
        train: "train",
        test: "test",
        ending: ".bin",
        names: "fine_label_names.txt",
    },
    Version {
        layout: "cifar-100",
        n_classes: 100,
        train: "train",
        test: "test",
        ending: "",
        names: "meta",
    },
];

/// Reads the batches in a folder; `None` if there are none.
pub(super) fn find(root: &Path) -> Result<Option<Reading>, Error> {
    let files: Vec<(String, PathBuf)> =
        entries(root)?.into_iter().filter(|(_, path)| path.is_file()).collect();
    for version in &VERSIONS {
        let mut batches: Vec<_> = files.iter().filter(|(name, _)| version.is_batch(name)).collect();
        if batches.is_empty() || !version.is_here(&files) {
            continue;
        }
        batches.sort_by_key(|(name, _)| (name.len(), name.clone()));
        return version.read(root, &batches).map(Some);
    }
    Ok(None)
}

impl Version {
    fn is_batch(&self, name: &str) -> bool {
        let middle = name.strip_prefix(self.train).and_then(|rest| rest.strip_suffix(self.ending));
        middle.is_some_and(|middle| match self.n_classes {
            // Somebody's own batches may have other names, such as data_batch_first.bin.
            10 if !self.ending.is_empty() => !middle.is_empty(),
            10 => !middle.is_empty() && middle.bytes().all(|byte| byte.is_ascii_digit()),
            _ => middle.is_empty(),
        })
    }

    /// CIFAR-100's files have such common names that the list of names must be there too.
    fn is_here(&self, files: &[(String, PathBuf)]) -> bool {
        self.n_classes == 10 || files.iter().any(|(name, _)| name == self.names)
    }

    fn read(&self, root: &Path, batches: &[&(String, PathBuf)]) -> Result<Reading, Error> {
        let mut reading = Reading {
            layout: self.layout,
            name: self.layout.into(),
            root: root.into(),
            raw: true,
            ..Reading::default()
        };
        let names = self.class_names(&mut reading, root)?;
        reading.classes = names.into_iter().map(|name| (name.clone(), name)).collect();
        let mut lengths = Vec::new();
        for (name, path) in batches {
            let pictures = self.pictures(&mut reading, path)?;
            lengths.push((name.clone(), pictures.1));
            reading.train.extend(pictures.0);
        }
        let test = root.join(format!("{}{}", self.test, self.ending));
        if test.is_file() {
            reading.val = Some(self.pictures(&mut reading, &test)?.0);
        }
        if self.n_classes == 10 {
            check(&mut reading, &lengths, self);
        }
        Ok(reading)
    }

    fn class_names(&self, reading: &mut Reading, root: &Path) -> Result<Vec<String>, Error> {
        let path = root.join(self.names);
        if !path.is_file() {
            return Ok(NAMES.map(String::from).into());
        }
        reading.source_file(&path);
        let names = if self.ending.is_empty() {
            python::names(&path)?
        } else {
            let text = std::fs::read_to_string(&path).map_err(Error::io(&path, "read"))?;
            let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
            lines.filter(|name| !name.is_empty()).map(String::from).collect()
        };
        if names.len() != self.n_classes {
            let why = format!("{} class names, expected {}", names.len(), self.n_classes);
            return Err(Error::Layout { path, why });
        }
        Ok(names)
    }

    /// The pictures of a batch, and their number with those that are left out.
    fn pictures(&self, reading: &mut Reading, path: &Path) -> Result<(Vec<Picture>, usize), Error> {
        if self.ending.is_empty() {
            python::pictures(reading, path, self.n_classes)
        } else {
            binary::pictures(reading, path, self.n_classes)
        }
    }
}

/// Doubts batches that are missing, and batches shorter than the others.
fn check(reading: &mut Reading, lengths: &[(String, usize)], version: &Version) {
    let most = lengths.iter().map(|(_, n)| *n).max().unwrap_or(0);
    let number = |name: &str| -> Option<usize> {
        name.strip_prefix(version.train)?.strip_suffix(version.ending)?.parse().ok()
    };
    let numbers: Vec<usize> = lengths.iter().filter_map(|(name, _)| number(name)).collect();
    // Somebody's own batches may be fewer; those of the data set are five of the same length.
    let last = match most {
        BATCH if !numbers.is_empty() => BATCHES,
        _ => numbers.iter().copied().max().unwrap_or(0).min(BATCHES),
    };
    let name = |i: usize| format!("{}{i}{}", version.train, version.ending);
    let missing: Vec<_> = (1..=last).filter(|i| !numbers.contains(i)).map(name).collect();
    if !missing.is_empty() {
        reading.doubt_partial(format!(
            "{} {} missing; put the missing files into the folder, or use what is there with \
             --partial",
            missing.join(", "),
            if missing.len() == 1 { "is" } else { "are" }
        ));
    }
    for (name, n) in lengths.iter().filter(|(_, n)| most == BATCH && *n < BATCH) {
        reading.doubt_partial(format!(
            "{name} is cut short: it holds {n} of {BATCH} pictures; download or copy it again, or \
             use what it holds with --partial"
        ));
    }
}

/// Turns a stored picture `[3, 32, 32]` into `[32, 32, 3]`.
pub(super) fn pixels(planes: &[u8]) -> Result<Vec<u8>, String> {
    if planes.len() != PIXELS {
        return Err(format!("{} bytes, expected {PIXELS}", planes.len()));
    }
    let n = SIDE * SIDE;
    Ok((0..n).flat_map(|i| [planes[i], planes[n + i], planes[2 * n + i]]).collect())
}

#[cfg(test)]
mod tests;
