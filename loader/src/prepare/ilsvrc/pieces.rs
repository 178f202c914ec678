//! The archives and unpacked folders of ImageNet that a folder holds.

use crate::Split;
use crate::prepare::lists::is_wordnet_id;
use crate::prepare::split_names;
use std::path::{Path, PathBuf};

use super::edition::{EDITIONS, Edition, OTHER};
use crate::prepare::found::{Found, Tar};
use crate::prepare::listing::entries;
use crate::prepare::system_names::passed_over;

const PATCHES: &str = "patch_images.tar";

/// The archives and unpacked folders of one edition.
#[derive(Debug)]
pub(super) struct Pieces {
    pub(super) root: PathBuf,
    pub(super) edition: &'static Edition,
    /// Archives that hold one tar per class.
    pub(super) train: Vec<PathBuf>,
    /// Tars that hold one class each.
    pub(super) class_tars: Vec<Tar>,
    /// Unpacked classes.
    pub(super) class_folders: Vec<(String, PathBuf)>,
    /// Archives and folders of validation pictures, and of test pictures.
    val: Vec<PathBuf>,
    test: Vec<PathBuf>,
    /// Better copies of pictures of ILSVRC-2010 that are blank.
    pub(super) patches: Option<PathBuf>,
    pub(super) other_archives: Vec<PathBuf>,
}

impl Pieces {
    /// Finds the pieces of ImageNet among what a folder holds; `None` if there is no archive of it.
    pub(super) fn of(found: &Found) -> Option<Self> {
        let edition = EDITIONS
            .iter()
            .find(|e| found.tars.iter().any(|tar| e.purpose_of(&tar.name).is_some()));
        let class_tars = found.tars.iter().any(is_class_tar);
        let mut pieces = Self::empty(&found.root, edition.or(class_tars.then_some(&OTHER))?);
        for tar in &found.tars {
            pieces.add(tar);
        }
        pieces.add_folders(found);
        // Archives that lie beside what was unpacked from them are the reader of folders'.
        let unpacked = pieces.train.is_empty() && pieces.class_tars.is_empty();
        let val_unpacked = found.folders.iter().any(|(name, path)| {
            split_names::plain_split(name) == Some(Split::Val) && !class_folders(path).is_empty()
        });
        if unpacked && val_unpacked {
            return None;
        }
        Some(pieces)
    }

    /// Tars of class tars under any name.
    pub(super) fn generic(root: &Path, tars: &[Tar]) -> Self {
        let mut pieces = Self::empty(root, &OTHER);
        for tar in tars {
            match tar.split {
                _ if PATCHES.eq_ignore_ascii_case(&tar.name) => {
                    pieces.patches = Some(tar.path.clone());
                }
                Some(Split::Val) => pieces.val.push(tar.path.clone()),
                Some(Split::Test) => pieces.test.push(tar.path.clone()),
                _ => pieces.train.push(tar.path.clone()),
            }
        }
        pieces
    }

    /// One tar per class under any name.
    pub(super) fn of_class_tars(root: &Path, class_tars: Vec<Tar>) -> Self {
        Self { class_tars, ..Self::empty(root, &OTHER) }
    }

    fn empty(root: &Path, edition: &'static Edition) -> Self {
        Self {
            root: root.into(),
            edition,
            train: Vec::new(),
            class_tars: Vec::new(),
            class_folders: Vec::new(),
            val: Vec::new(),
            test: Vec::new(),
            patches: None,
            other_archives: Vec::new(),
        }
    }

    /// Archives and folders with the pictures of a split.
    pub(super) fn held_out(&self, split: Split) -> &[PathBuf] {
        if split == Split::Test { &self.test } else { &self.val }
    }

    fn add(&mut self, tar: &Tar) {
        let path = tar.path.clone();
        match self.edition.purpose_of(&tar.name) {
            Some(Split::Train) => self.train.push(path),
            Some(Split::Val) => self.val.push(path),
            Some(Split::Test) => self.test.push(path),
            None if is_class_tar(tar) => self.class_tars.push(tar.clone()),
            None if PATCHES.eq_ignore_ascii_case(&tar.name) => self.patches = Some(path),
            None => self.other_archives.push(path),
        }
    }

    /// Adds what is unpacked already: class folders, and flat folders of a split.
    fn add_folders(&mut self, found: &Found) {
        for (name, path) in &found.folders {
            let lower = name.to_lowercase();
            let stem = |split| self.edition.archive(split).trim_end_matches(".tar").to_string();
            let is = |split: Split| {
                split_names::plain_split(name) == Some(split) || lower == stem(split).to_lowercase()
            };
            if is(Split::Train) {
                self.class_folders.extend(class_folders(path));
            } else if is(Split::Val) && holds_files(path) {
                self.val.push(path.clone());
            } else if is(Split::Test) && holds_files(path) {
                self.test.push(path.clone());
            } else if is_wordnet_id(name) {
                self.class_folders.push((name.clone(), path.clone()));
            }
        }
    }
}

fn is_class_tar(tar: &Tar) -> bool {
    let stem = tar.name.get(..tar.name.len().saturating_sub(4)).unwrap_or_default();
    is_wordnet_id(stem) && matches!(tar.split, None | Some(Split::Train))
}

fn class_folders(path: &Path) -> Vec<(String, PathBuf)> {
    let all = entries(path).unwrap_or_default().into_iter();
    all.filter(|(name, path)| passed_over(name).is_none() && path.is_dir()).collect()
}

fn holds_files(path: &Path) -> bool {
    let is_picture =
        |(name, path): &(String, PathBuf)| !name.to_lowercase().ends_with(".tar") && path.is_file();
    entries(path).unwrap_or_default().iter().any(is_picture)
}
