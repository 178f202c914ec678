//! The pictures that a command line names: found, read, and an account of those that can't be.

mod find; // paths, folders, globs and lists → picture files
mod glob; // patterns that no shell expanded
mod passed; // files in folders that are no pictures
mod read; // a picture file → its pixels

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use rayon::prelude::*;

use crate::network::Stored;
use crate::print;

use find::Found;

/// The picture files that were asked for.
#[derive(Debug)]
pub(super) struct Asked(Found);

impl Asked {
    /// Finds the pictures of paths and of a list. Prints what can't be found, and what is passed
    /// over.
    ///
    /// # Errors
    /// If there is no picture, or the list can't be read.
    pub(super) fn find(paths: &[PathBuf], list: Option<&Path>) -> Result<Self> {
        let found = find::find(paths, list)?;
        found.problems.iter().for_each(|problem| print::error(&anyhow!("{problem}")));
        found.passed.sentences().iter().for_each(print::note);
        let asked = Self(found);
        if asked.files().is_empty() {
            bail!("there is no picture to look at: {}", asked.lost(0).join("; "));
        }
        Ok(asked)
    }

    /// The files, in the order in which they were asked for.
    pub(super) fn files(&self) -> &[PathBuf] {
        &self.0.pictures
    }

    /// Succeeds if nothing that was asked for is lost; `unread` files could not be read.
    ///
    /// # Errors
    /// The number of what is lost; each was named before.
    pub(super) fn all_read(&self, unread: u64) -> Result<()> {
        let lost = self.lost(unread);
        if !lost.is_empty() {
            bail!("{}: see above", lost.join("; "));
        }
        Ok(())
    }

    /// Things that were asked for and can't be answered, in words.
    fn lost(&self, unread: u64) -> Vec<String> {
        let all = print::count(self.files().len() as u64, "picture", "pictures");
        let problems = self.0.problems.len() as u64;
        let mut lost = Vec::new();
        if unread > 0 {
            lost.push(format!("{} of {all} can't be read", print::thousands(unread)));
        }
        if problems > 0 {
            let problems = print::count(problems, "path", "paths");
            lost.push(format!("{problems} can't be read or lead to no picture"));
        }
        lost
    }
}

/// Pictures with their pixels, and an error for each that can't be read; on all cores.
pub(super) fn read_all(
    paths: &[PathBuf],
    side: usize,
) -> (Vec<(&Path, Stored)>, Vec<anyhow::Error>) {
    let results: Vec<_> = paths.par_iter().map(|path| read::picture(path, side)).collect();
    let (mut pictures, mut errors) = (Vec::new(), Vec::new());
    for (path, result) in paths.iter().zip(results) {
        match result {
            Ok(pixels) => pictures.push((path.as_path(), pixels)),
            Err(why) => errors.push(anyhow!("{}: {why}", print::path(path))),
        }
    }
    (pictures, errors)
}
