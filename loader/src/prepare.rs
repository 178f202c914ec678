//! Prepares a data set from picture files: squares of one size in shards, with an index, the mean
//! image, the color components and `dataset.json`.
//!
//! All pictures are listed first (names and locations, no pixels), then read, cut to squares and
//! stored, a few at a time on all cores. The bytes written depend on the pictures and the options
//! only. The result appears under its name when it is complete, or not at all.

mod find; // recognizes the layout of a source
mod listing; // what a folder holds
mod folders; // train/<class>/*, val/<class>/*, or <class>/*
mod cifar; // data_batch_*.bin
mod ilsvrc; // the archives of ILSVRC-2012, or Kaggle's copy
mod matfile; // MATLAB's file format, as far as the development kit needs it
mod webdataset; // tars of key.jpg and key.cls
mod archive; // tar files, read at random
mod holdout; // validation pictures, held out of the training pictures
mod shards; // writes the files of a data set

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use rayon::prelude::*;
use tracing::{info, info_span};

use crate::dataset::{Class, FORMAT, LeftOut, PictureEncoding, Summary};
use crate::{Error, Split};

use archive::Archive;
use shards::{Folder, Stored, Writer};

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
    /// Warnings for people, such as classes without pictures.
    pub warnings: Vec<String>,
}

/// Makes a data set at `dest` from `source`; calls `progress` after every batch of pictures.
///
/// # Errors
/// [`Error::Layout`] if `source` isn't any known layout or nothing in it can be used,
/// [`Error::Destination`] if `dest` isn't free, [`Error::Setting`] for impossible options,
/// [`Error::Io`]. A picture that can't be used is no error: it is listed.
pub fn prepare(
    source: &Path,
    dest: &Path,
    options: &Options,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Report, Error> {
    options.check()?;
    let folder = Folder::beside(dest)?;
    let mut found = info_span!("find").in_scope(|| find::find(source))?;
    let val_from = hold_out(&mut found, options);
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .build()
        .map_err(|e| Error::Setting { setting: "threads", why: e.to_string() })?;
    let summary = info_span!("store")
        .in_scope(|| threads.install(|| store(&mut found, &folder, options, val_from, progress)))?;
    if summary.n_train == 0 {
        return Err(no_pictures(source, &summary.left_out));
    }
    found.warnings.extend(empty_classes(&summary));
    let path = folder.publish(dest, &summary)?;
    info!(n_train = summary.n_train, n_val = summary.n_val, "data set prepared");
    Ok(Report { path, summary, warnings: found.warnings })
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

/// The contents of a source, before any picture is opened.
#[derive(Debug, Default)]
struct Found {
    layout: &'static str,
    name: String,
    root: PathBuf,
    archives: Vec<Archive>,
    /// Keys and names of the classes, in label order.
    classes: Vec<(String, String)>,
    train: Vec<Picture>,
    /// Validation pictures; `None` if the layout has none of its own.
    val: Option<Vec<Picture>>,
    /// Whether pictures are CIFAR-10's pixels instead of files.
    raw: bool,
    left_out: Vec<LeftOut>,
    warnings: Vec<String>,
}

#[derive(Debug, Clone)]
struct Picture {
    label: u32,
    location: Location,
}

#[derive(Debug, Clone)]
enum Location {
    /// A file, by its path below the root.
    File(PathBuf),
    /// A member of one of the archives.
    Member { archive: u32, name: Box<str>, offset: u64, length: u64 },
}

impl Found {
    fn leave_out(&mut self, file: impl Into<String>, reason: impl Into<String>) {
        self.left_out.push(LeftOut { file: file.into(), reason: reason.into() });
    }

    fn name_of(&self, picture: &Picture) -> String {
        match &picture.location {
            Location::File(path) => path.display().to_string(),
            Location::Member { archive, name, .. } => {
                format!("{}/{name}", self.archives[*archive as usize].name)
            }
        }
    }

    fn bytes_of(&self, picture: &Picture) -> std::io::Result<Vec<u8>> {
        match &picture.location {
            Location::File(path) => std::fs::read(self.root.join(path)),
            Location::Member { archive, offset, length, .. } => {
                self.archives[*archive as usize].read(*offset, *length)
            }
        }
    }
}

/// Makes sure that there are validation pictures; returns their origin, in words.
fn hold_out(found: &mut Found, options: &Options) -> String {
    if found.val.is_some() {
        return "the source's own".into();
    }
    let train = std::mem::take(&mut found.train);
    let (train, val) = holdout::split(train, found.classes.len(), options.val_share, options.seed);
    if val.is_empty() {
        found.warnings.push(
            "no validation pictures: the source has none, and no class has two pictures or more \
             to set one aside"
                .into(),
        );
        (found.train, found.val) = (train, Some(val));
        return "none".into();
    }
    (found.train, found.val) = (train, Some(val));
    format!("{} of the training pictures, seed {}", options.val_share, options.seed)
}

/// Pictures processed at a time, per thread and in all.
const BATCH_PER_THREAD: usize = 32;
const BATCH: usize = 512;

fn store(
    found: &mut Found,
    folder: &Folder,
    options: &Options,
    val_from: String,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Summary, Error> {
    let side = if found.raw { cifar::SIDE } else { options.side };
    let encoding = if found.raw { PictureEncoding::Raw } else { PictureEncoding::Jpeg };
    let val = found.val.take().unwrap_or_default();
    let train = std::mem::take(&mut found.train);
    let total = (train.len() + val.len()) as u64;
    let mut count = Progress { done: 0, total, left_out: found.left_out.len() as u64 };
    let mut left_out = Vec::new();
    let mut finished = Vec::new();
    for (split, pictures) in [(Split::Train, &train), (Split::Val, &val)] {
        let writer = Writer::new(folder, split, side, encoding, options.shard_bytes);
        finished.push(store_split(found, pictures, side, options.quality, writer, |left| {
            count.done += left.1;
            count.left_out += left.0.len() as u64;
            left_out.extend(left.0);
            progress(count);
        })?);
    }
    found.left_out.append(&mut left_out);
    let val = finished.pop().expect("two splits");
    let train = finished.pop().expect("two splits");
    let classes = found.classes.iter().enumerate();
    Ok(Summary {
        format: FORMAT,
        name: options.name.clone().unwrap_or_else(|| found.name.clone()),
        source: found.layout.into(),
        side,
        encoding,
        n_train: train.n_images(),
        n_val: val.n_images(),
        val_from,
        classes: classes
            .map(|(label, (key, name))| Class {
                key: key.clone(),
                name: name.clone(),
                n_train: train.n_of(label as u32),
                n_val: val.n_of(label as u32),
            })
            .collect(),
        colors: train.sums.colors(),
        mean: folder.write_mean(&train.sums)?,
        train_index: train.index,
        train_shards: train.shards,
        val_index: val.index,
        val_shards: val.shards,
        left_out: std::mem::take(&mut found.left_out),
    })
}

/// Cuts pictures to squares (all cores) and writes them (one thread), in order, a batch at a time;
/// reports the files that each batch left out, and its size.
fn store_split(
    found: &Found,
    pictures: &[Picture],
    side: usize,
    quality: u8,
    mut writer: Writer<'_>,
    mut report: impl FnMut((Vec<LeftOut>, u64)),
) -> Result<shards::Finished, Error> {
    let size = (BATCH_PER_THREAD * rayon::current_num_threads()).min(BATCH);
    std::thread::scope(|scope| {
        // One batch waits while another is written and a third is made.
        let (send, batches) = mpsc::sync_channel::<Vec<Stored>>(1);
        let writing = scope.spawn(move || {
            for batch in batches {
                batch.iter().try_for_each(|stored| writer.write(stored))?;
            }
            writer.finish()
        });
        for batch in pictures.chunks(size) {
            let made: Vec<_> = batch.par_iter().map(|p| square(found, p, side, quality)).collect();
            let mut left = Vec::new();
            let good = made.into_iter().filter_map(|m| m.map_err(|l| left.push(l)).ok()).collect();
            report((left, batch.len() as u64));
            if send.send(good).is_err() {
                break; // the writer has failed; its error is returned below
            }
        }
        drop(send);
        writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn square(found: &Found, picture: &Picture, side: usize, quality: u8) -> Result<Stored, LeftOut> {
    let out = |reason: String| LeftOut { file: found.name_of(picture), reason };
    let bytes = found.bytes_of(picture).map_err(|e| out(format!("can't be read: {e}")))?;
    let pixels =
        if found.raw { cifar::pixels(&bytes) } else { crate::picture::square(&bytes, side) };
    let stored =
        pixels.and_then(|pixels| Stored::new(picture.label, pixels, side, found.raw, quality));
    stored.map_err(out)
}

fn empty_classes(summary: &Summary) -> Vec<String> {
    let classes = summary.classes.iter().filter(|class| class.n_train == 0);
    let line = |class: &Class| {
        format!("class {} has no training picture; it keeps its place among the labels", class.key)
    };
    classes.map(line).collect()
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
