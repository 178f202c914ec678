//! Validation and test pictures, from an archive or a flat folder.

use crate::Split;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::lists::Lists;
use super::pieces::Pieces;
use super::{SOLUTION, label_of};
use crate::Error;
use crate::prepare::listing::entries;
use crate::prepare::members::Tar;
use crate::prepare::system_names::passed_over;
use crate::prepare::{Location, Picture, Reading, foreign};

/// Pictures of a split with a list of their classes.
#[derive(Debug)]
pub(super) struct Source {
    split: Split,
    path: PathBuf,
}

impl Source {
    pub(super) fn classes(&self, lists: &Lists) -> impl Iterator<Item = String> {
        lists.classes(self.split)
    }
}

/// The pictures of a split, if they are there and their classes are known.
///
/// Validation pictures without known classes are doubted, test pictures only counted: those of
/// ILSVRC-2012 never had any.
pub(super) fn source(
    reading: &mut Reading,
    pieces: &Pieces,
    split: Split,
    lists: &Lists,
) -> Result<Option<Source>, Error> {
    let Some((path, others)) = pieces.held_out(split).split_first() else {
        return Ok(None);
    };
    for other in others {
        let below = other.strip_prefix(&pieces.root).unwrap_or(other).display();
        reading.notes.push(format!("{below} isn't read: {} is", path.display()));
    }
    if let Some(doubt) = foreign::doubt(path).filter(|_| path.is_file()) {
        reading.doubts.push(doubt);
        reading.source_file(path);
        return Ok(None);
    }
    if lists.n_of(split) > 0 {
        return Ok(Some(Source { split, path: path.clone() }));
    }
    if split == Split::Val {
        reading.doubt(no_list(pieces, path), None);
    } else {
        let n = files(reading, path)?.len();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        reading.notes.push(format!(
            "{n} test pictures in {name} aren't used: there is no list of their classes"
        ));
    }
    Ok(None)
}

fn no_list(pieces: &Pieces, path: &Path) -> String {
    let shown = path.strip_prefix(&pieces.root).unwrap_or(path).display();
    let kit = match pieces.edition.kit {
        "" => "the development kit".to_string(),
        kit => format!("{kit} (from image-net.org)"),
    };
    format!(
        "the classes of the validation pictures in {shown} are unknown; put {kit} or {SOLUTION} \
         (from Kaggle) into this folder, or move {shown} away to hold out training pictures"
    )
}

/// Lists the pictures of a split in the order of their names; those without a known class are
/// left out.
pub(super) fn pictures(
    reading: &mut Reading,
    source: Source,
    lists: &Lists,
    patches: &HashMap<String, Location>,
) -> Result<Vec<Picture>, Error> {
    let mut all = files(reading, &source.path)?;
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    let label_of = label_of(reading);
    let from = lists.from.join(" or ");
    let mut pictures = Vec::with_capacity(all.len());
    for (name, location) in all {
        match lists.class_of(&name).and_then(|class| label_of.get(class)) {
            Some(&label) => pictures.push(Picture { label, location }),
            None => {
                let shown = source.path.strip_prefix(&reading.root).unwrap_or(&source.path);
                let file = format!("{}/{name}", shown.display());
                reading.leave_out(file, format!("its class isn't in {from}"));
            }
        }
    }
    let (n, wanted) = (pictures.len(), lists.n_of(source.split));
    if n < wanted {
        let shown = source.path.strip_prefix(&reading.root).unwrap_or(&source.path).display();
        reading.doubt_partial(format!(
            "{shown} holds {n} of the {wanted} pictures that {from} lists; download or copy it \
             again, or use what it holds with --partial"
        ));
    }
    patch(&mut pictures, patches);
    Ok(pictures)
}

/// Names and locations of the files in an archive or a flat folder.
fn files(reading: &mut Reading, path: &Path) -> Result<Vec<(String, Location)>, Error> {
    if path.is_dir() {
        return flat(reading, path);
    }
    let (number, archive) = reading.open_archive(path)?;
    let members = reading.list(Tar::whole(&archive)).into_iter();
    Ok(members.map(|member| (member.base().to_string(), member.location(number))).collect())
}

fn flat(reading: &mut Reading, folder: &Path) -> Result<Vec<(String, Location)>, Error> {
    let mut files = Vec::new();
    for (name, path) in entries(folder)? {
        let below = path.strip_prefix(&reading.root).unwrap_or(&path).to_owned();
        if let Some(what) = passed_over(&name) {
            reading.passed_over.add(what, || below.display().to_string());
        } else if path.is_file() {
            reading.source_file(&path);
            files.push((name, Location::File(below)));
        } else {
            reading.leave_out(below.display().to_string(), "a folder among pictures");
        }
    }
    Ok(files)
}

/// Reads ILSVRC-2010's `patch_images.tar`: pictures by name, to be used instead of blank ones.
pub(super) fn patches(
    reading: &mut Reading,
    pieces: &Pieces,
) -> Result<HashMap<String, Location>, Error> {
    let Some(path) = &pieces.patches else {
        return Ok(HashMap::new());
    };
    let (number, archive) = reading.open_archive(path)?;
    let members = reading.list(Tar::whole(&archive)).into_iter();
    let patches: HashMap<_, _> =
        members.map(|member| (member.base().to_string(), member.location(number))).collect();
    reading.notes.push(format!(
        "{} pictures are replaced by those of {}",
        patches.len(),
        archive.name
    ));
    Ok(patches)
}

/// Replaces the pictures that have a better copy.
pub(super) fn patch(pictures: &mut [Picture], patches: &HashMap<String, Location>) {
    if patches.is_empty() {
        return;
    }
    for picture in pictures {
        let base = match &picture.location {
            Location::Member { name, .. } => name.rsplit('/').next(),
            Location::File(path) => path.file_name().and_then(|name| name.to_str()),
        };
        if let Some(better) = base.and_then(|base| patches.get(base)) {
            picture.location = better.clone();
        }
    }
}
