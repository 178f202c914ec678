//! Prepares a data set from picture files: squares of one size in shards, with an index, the mean
//! image, the color components and `dataset.json`.
//!
//! All pictures are listed first (names and locations, no pixels), then read, cut to squares and
//! stored, a few at a time on all cores. The bytes written depend on the pictures and the options
//! only. The result appears under its name when it is complete, or not at all.

mod reading; // the contents of a source, before any picture is opened
mod find; // recognizes the layout of a source
mod system_names; // names that are never anybody's pictures
mod listing; // what a folder holds
mod folders; // train/<class>/*, val/<class>/*, or <class>/*
mod archives; // recognizes archives, and chooses their reader: cifar, ilsvrc, webdataset, tarfolders
mod found; // the archives in a folder, by name
mod purpose; // train, val or test, from a name
mod picture_names; // endings of picture files
mod cifar; // CIFAR-10 and CIFAR-100, binary or pickled
mod ilsvrc; // ImageNet's archives, or Kaggle's copy
mod webdataset; // tars of key.jpg and key.cls
mod tarfolders; // tars of class folders
mod foreign; // files that are no tar although their name says so
mod archive; // files that hold many pictures, read at random
mod tarfile; // the members of a tar
mod members; // those that may be pictures, with all others counted or named
mod matfile; // MATLAB's file format, as far as the development kit needs it
mod pickle; // Python's pickle format, as far as CIFAR needs it
mod holdout; // validation pictures, held out of the training pictures
mod store; // pictures to squares to shards
mod shards; // writes the files of a data set

use std::path::{Path, PathBuf};

use tracing::{info, info_span};

use crate::Error;
use crate::dataset::{Class, LeftOut, Summary};

use archive::Archive;
use reading::Location;
use shards::Folder;

pub use reading::{Doubt, Instead, PassedOver, Picture, Reading, SourceFile};

/// The options of [`prepare`].
#[derive(Debug, Clone)]
pub struct Options {
    /// Side of the stored pictures, in pixels (CIFAR-10's stay as they are).
    pub side: usize,
    /// Fraction of training pictures to hold out where there are no validation pictures: 0 to 0.9.
    pub val_share: f64,
    /// Seed that chooses the pictures to hold out.
    pub seed: u64,
    /// Name of the data set; by default the source's.
    pub name: Option<String>,
    /// JPEG quality, 1 to 100.
    pub quality: u8,
    /// Length, in bytes, at which a shard is closed.
    pub shard_bytes: u64,
    /// Number of threads; 0 = one per core.
    pub threads: usize,
    /// Accepts archives that are cut short or hold less than their lists say.
    pub partial: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            side: 256,
            val_share: 0.1,
            seed: 2012,
            name: None,
            quality: 90,
            shard_bytes: 256 << 20,
            threads: 0,
            partial: false,
        }
    }
}

/// The progress of a preparation, in pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Pictures processed, including those left out.
    pub done: u64,
    /// Pictures in all.
    pub total: u64,
    /// Pictures left out so far.
    pub left_out: u64,
}

/// The result of a preparation.
#[derive(Debug, Clone)]
pub struct Report {
    /// Folder of the data set.
    pub path: PathBuf,
    /// Contents of `dataset.json`.
    pub summary: Summary,
    /// Remarks for people, such as classes without pictures.
    pub notes: Vec<String>,
}

/// Reads a source: recognizes its layout and lists its pictures, without opening any of them.
///
/// # Errors
/// [`Error::Layout`] if `source` isn't any known layout, [`Error::Setting`] for impossible options,
/// [`Error::Io`].
pub fn read(source: &Path, options: &Options) -> Result<Reading, Error> {
    options.check()?;
    let mut reading = info_span!("read").in_scope(|| find::find(source))?;
    if options.partial {
        reading.accept_partial();
    }
    Ok(reading)
}

/// Makes a data set at `dest` from what was read; calls `progress` after every batch of pictures.
///
/// # Errors
/// [`Error::Doubtful`] if the reading has doubts, [`Error::Layout`] if no picture can be used,
/// [`Error::Destination`] if `dest` isn't free, [`Error::Setting`] for impossible options,
/// [`Error::Io`]. A picture that can't be used is no error: it is listed.
pub fn store(
    mut reading: Reading,
    source: &Path,
    dest: &Path,
    options: &Options,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Report, Error> {
    options.check()?;
    reading.check(source)?;
    let folder = Folder::beside(dest)?;
    let val_from = store::hold_out(&mut reading, options);
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .build()
        .map_err(|e| Error::Setting { setting: "threads", why: e.to_string() })?;
    let summary = info_span!("store").in_scope(|| {
        threads.install(|| store::store(&mut reading, &folder, options, val_from, progress))
    })?;
    if summary.n_train == 0 {
        return Err(no_pictures(source, &summary.left_out));
    }
    reading.notes.extend(empty_classes(&summary));
    let path = folder.publish(dest, &summary)?;
    info!(n_train = summary.n_train, n_val = summary.n_val, "data set prepared");
    Ok(Report { path, summary, notes: reading.notes })
}

/// Makes a data set at `dest` from `source`: [`read`], then [`store`].
///
/// # Errors
/// As those two.
pub fn prepare(
    source: &Path,
    dest: &Path,
    options: &Options,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Report, Error> {
    store(read(source, options)?, source, dest, options, progress)
}

impl Options {
    fn check(&self) -> Result<(), Error> {
        let bad = |setting, why: String| Err(Error::Setting { setting, why });
        if !(8..=2048).contains(&self.side) {
            return bad("--side", format!("{}, expected 8 to 2048 pixels", self.side));
        }
        if !(0.0..=0.9).contains(&self.val_share) {
            return bad("--val-share", format!("{}, expected 0 to 0.9", self.val_share));
        }
        if !(1..=100).contains(&self.quality) {
            return bad("--quality", format!("{}, expected 1 to 100", self.quality));
        }
        Ok(())
    }
}

/// Most classes without training pictures that are named.
const MOST_EMPTY: usize = 5;

fn empty_classes(summary: &Summary) -> Vec<String> {
    let classes: Vec<_> = summary.classes.iter().filter(|class| class.n_train == 0).collect();
    let line = |class: &&Class| {
        format!("class {} has no training picture; it keeps its place among the labels", class.key)
    };
    let mut notes: Vec<_> = classes.iter().take(MOST_EMPTY).map(line).collect();
    if classes.len() > MOST_EMPTY {
        let n = classes.len() - MOST_EMPTY;
        notes.push(format!("{n} more classes have no training picture; they keep their places"));
    }
    notes
}

fn no_pictures(source: &Path, left_out: &[LeftOut]) -> Error {
    let why = match left_out.first() {
        Some(LeftOut { file, reason }) => {
            let n = left_out.len();
            format!(
                "no training picture can be used; {n} files left out, the first: {file}: {reason}"
            )
        }
        None => "no training picture in it".into(),
    };
    Error::Layout { path: source.into(), why }
}

#[cfg(test)]
mod tests;
