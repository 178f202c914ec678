//! ImageNet's archives: ILSVRC-2012, ILSVRC-2010, Fall 2011, and any other tar of one tar per
//! class; whole, or partly unpacked.
//!
//! Training pictures: an archive of class tars, or class tars and class folders. Validation and
//! test pictures: an archive or a flat folder, with a list of their classes. Labels are the
//! classes' WordNet ids in alphabetical order, as is usual (the development kit's own numbers
//! differ).

mod edition; // names of archives, and what they should hold
mod pieces; // which of them are there
mod lists; // the classes of validation and test pictures
mod kit; // the development kit
mod train; // training pictures of each class
mod held_out; // validation and test pictures
mod expect; // counts that are unlike the lists'

use crate::Split;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use super::found::{Found, Tar};
use super::{Location, Reading};
use crate::Error;

use edition::Edition;
use lists::Lists;
use pieces::Pieces;
use train::ClassPictures;

const SOLUTION: &str = "LOC_val_solution.csv";

/// Reads ImageNet's archives in a folder; `None` if there are none.
pub(super) fn find(found: &Found) -> Result<Option<Reading>, Error> {
    let Some(pieces) = Pieces::of(found) else {
        return Ok(None);
    };
    let mut reading = Reading { root: found.root.clone(), ..Reading::default() };
    for path in &pieces.other_archives {
        let below = path.strip_prefix(&found.root).unwrap_or(path);
        let why = "an archive that doesn't belong to this data set";
        reading.leave_out(below.display().to_string(), why);
    }
    read(&pieces, reading).map(Some)
}

/// Reads tars of class tars under any name.
pub(super) fn find_tars(root: &Path, tars: &[Tar], reading: Reading) -> Result<Reading, Error> {
    read(&Pieces::generic(root, tars), reading)
}

/// Reads one tar per class, each named after its class.
pub(super) fn find_class_tars(
    root: &Path,
    tars: Vec<Tar>,
    reading: Reading,
) -> Result<Reading, Error> {
    read(&Pieces::of_class_tars(root, tars), reading)
}

fn read(pieces: &Pieces, mut reading: Reading) -> Result<Reading, Error> {
    let edition = pieces.edition;
    (reading.layout, reading.name) = (edition.layout, edition.name.into());
    let lists = Lists::find(&pieces.root, edition, &mut reading)?;
    let patches = held_out::patches(&mut reading, pieces)?;
    let train = train::classes(&mut reading, pieces)?;
    let val = held_out::source(&mut reading, pieces, Split::Val, &lists)?;
    let test = held_out::source(&mut reading, pieces, Split::Test, &lists)?;

    let mut keys: BTreeSet<String> = train.keys().cloned().collect();
    keys.extend(lists.expected.keys().cloned());
    for source in [&val, &test].into_iter().flatten() {
        keys.extend(source.classes(&lists));
    }
    let name = |key: String| (key.clone(), lists.name_of(&key).unwrap_or(key));
    reading.classes = keys.into_iter().map(name).collect();

    let counts = train_pictures(&mut reading, train, &patches)?;
    expect::check_train(&mut reading, pieces, &lists, &counts);
    if let Some(val) = val {
        reading.val = Some(held_out::pictures(&mut reading, val, &lists, &patches)?);
    }
    if let Some(test) = test {
        reading.test = Some(held_out::pictures(&mut reading, test, &lists, &patches)?);
    }
    Ok(reading)
}

/// Lists the training pictures, class by class; returns the number of each class.
fn train_pictures(
    reading: &mut Reading,
    classes: BTreeMap<String, ClassPictures>,
    patches: &HashMap<String, Location>,
) -> Result<BTreeMap<String, u64>, Error> {
    let labels = label_of(reading);
    let mut counts = BTreeMap::new();
    for (class, place) in classes {
        let before = reading.train.len();
        place.list(reading, labels[&class])?;
        counts.insert(class, (reading.train.len() - before) as u64);
    }
    let mut train = std::mem::take(&mut reading.train);
    held_out::patch(&mut train, patches);
    reading.train = train;
    Ok(counts)
}

fn label_of(reading: &Reading) -> HashMap<String, u32> {
    reading.classes.iter().zip(0..).map(|((key, _), label)| (key.clone(), label)).collect()
}

#[cfg(test)]
mod tests;
