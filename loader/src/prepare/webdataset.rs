//! WebDataset tars: a picture and its label with the same key beside each other, such as
//! `0001.jpg` and `0001.cls`.
//!
//! A tar with a split's name in its own name, or in its folder's, holds pictures of that split.
//! Labels are whole numbers, or words that become classes in alphabetical order (or in the order of
//! `classes.txt`). Negative numbers and empty labels mark pictures without a label.

mod label; // a label, in all forms in which writers write it
mod samples; // members of a shard by key
mod classes; // classes and their order, from the labels

use crate::Split;
use std::collections::BTreeMap;
use std::path::Path;

use super::found::Tar;
use super::members::{self, Repeated};
use super::reading::{Location, Picture, Reading};
use crate::Error;

use classes::Classes;
use label::Label;
use samples::Samples;

/// Returns true if a member with this ending may hold a label.
pub(super) fn is_label(ending: &str) -> bool {
    label::rank(ending).is_some()
}

/// Tells whether so many labels beside so many pictures are those of samples: a README.txt or two
/// beside class folders are no labels.
pub(super) fn are_samples(pictures: usize, labels: usize) -> bool {
    labels > 0 && 4 * labels >= pictures
}

/// The labeled pictures of one split, and the files without a label.
#[derive(Debug, Default)]
struct Labeled {
    pictures: Vec<(Label, Location)>,
    /// Names of pictures without a label.
    unlabeled: Vec<String>,
    n_tars: usize,
}

pub(super) fn find(tars: &[Tar], mut reading: Reading) -> Result<Reading, Error> {
    reading.layout = "webdataset";
    let mut splits: BTreeMap<Split, Labeled> = BTreeMap::new();
    let mut seen = Samples::default();
    for tar in tars {
        let labeled = splits.entry(tar.split.unwrap_or(Split::Train)).or_default();
        labeled.n_tars += 1;
        shard(&mut reading, &tar.path, labeled, &mut seen)?;
    }
    seen.notes(&mut reading);
    for (split, labeled) in &mut splits {
        unlabeled(&mut reading, *split, labeled);
    }
    if splits.values().all(|labeled| labeled.pictures.is_empty()) {
        no_labels(&mut reading, &seen);
    }
    let labels = splits.values().flat_map(|labeled| &labeled.pictures).map(|(label, _)| label);
    let classes = Classes::of(&mut reading, labels)?;
    let mut take = |split| {
        let labeled =
            splits.remove(&split).filter(|labeled: &Labeled| !labeled.pictures.is_empty())?;
        let pictures = labeled.pictures.into_iter();
        let picture =
            |(label, location)| Some(Picture { label: classes.of_label(&label)?, location });
        Some(pictures.filter_map(picture).collect::<Vec<_>>())
    };
    reading.train = take(Split::Train).unwrap_or_default();
    reading.val = take(Split::Val);
    reading.test = take(Split::Test);
    reading.classes = classes.keys_and_names;
    Ok(reading)
}

fn shard(
    reading: &mut Reading,
    path: &Path,
    labeled: &mut Labeled,
    seen: &mut Samples,
) -> Result<(), Error> {
    let (number, archive) = reading.open_archive(path)?;
    let mut tar = members::Tar::whole(&archive);
    tar.repeated = Repeated::Kept;
    let members = reading.list(tar);
    let found = seen.of_shard(&archive, members);
    for (key, why) in found.left_out {
        reading.leave_out(format!("{}/{key}", archive.name), why);
    }
    for (member, label) in found.complete {
        match label {
            Label::None => labeled.unlabeled.push(format!("{}/{}", archive.name, member.name)),
            Label::Unknown(why) => {
                reading.leave_out(format!("{}/{}", archive.name, member.name), why);
            }
            label => labeled.pictures.push((label, member.location(number))),
        }
    }
    Ok(())
}

/// Names the pictures without a label, or only counts them where a split has no labels at all.
fn unlabeled(reading: &mut Reading, split: Split, labeled: &mut Labeled) {
    let unlabeled = std::mem::take(&mut labeled.unlabeled);
    if split != Split::Train && labeled.pictures.is_empty() && !unlabeled.is_empty() {
        let name = if split == Split::Test { "test" } else { "validation" };
        reading.notes.push(format!(
            "{} {name} pictures aren't used: none of them has a label",
            unlabeled.len()
        ));
        return;
    }
    for file in unlabeled {
        reading.leave_out(file, "it is marked as having no label (-1, or empty)");
    }
}

fn no_labels(reading: &mut Reading, seen: &Samples) {
    let kinds = seen.kinds();
    let why = format!(
        "none of the pictures in these tars has a label; expected KEY.jpg with KEY.cls, KEY.json \
         or KEY.txt beside it, found: {kinds}"
    );
    reading.doubt(why, None);
}

#[cfg(test)]
mod tests;
