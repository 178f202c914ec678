//! Prepares a data set from picture files: squares of one size in shards, with an index, the mean
//! image, the color components and `dataset.json`.
//!
//! All pictures are listed first (names and locations, no pixels), then read, cut to squares and
//! stored, a few at a time on all cores. The bytes written depend on the pictures and the options
//! only. The result appears under its name when it is complete, or not at all.

mod reading; // the contents of a source, before any picture is opened
mod find; // recognizes a source, and doubts it where it must
mod tree; // everything below a folder, listed once
mod system_names; // names that are never anybody's pictures
mod file_names; // what a file may be, by its ending
mod split_names; // training, validation or test, by a folder's name
mod layout; // which folders are splits and which are classes
mod folders; // the pictures of a layout
mod lists; // tables that give the classes of pictures
mod class_names; // order and names of classes
mod listing; // what a folder holds
mod archives; // recognizes archives, and chooses their reader: cifar, ilsvrc, webdataset, tarfolders
mod found; // the archives in a folder, by name
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
mod source_files; // the files of a source, for the recognition of changes
mod holdout; // validation pictures, held out of the training pictures
mod store; // pictures to squares to shards
mod writer; // the shards of a split, and how far they are
mod shards; // one picture as it is stored, one shard
mod partial; // the folder in which a data set is written, until it has its name
mod key; // the identity of a preparation, for resuming it after an interruption
mod duplicates; // pictures that are in two splits
mod watch; // progress, and the wish to stop

use std::path::{Path, PathBuf};
use std::str::FromStr;

use tracing::{info, info_span};

use crate::dataset::{
    Class, FORMAT, LeftOut, MEAN, PassedOverKind, PictureEncoding, SOURCE_FILES, SourceList,
    Summary,
};
use crate::{Error, files};

use archive::Archive;
use partial::Partial;
use reading::Location;
use store::{Job, Splits};
use writer::Written;

pub use crate::doubt::{Doubt, Instead};
pub use listing::listed;
pub use partial::before;
pub use reading::{PassedOver, Picture, Reading, SourceFile};
pub use system_names::passed_over;
pub use tree::product;
pub use watch::{Phase, Progress, Watch};

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
    /// Folder of the training pictures, below the source; recognized if `None`.
    pub train: Option<Place>,
    /// Folder of the validation pictures, below the source; recognized if `None`.
    pub val: Option<Place>,
    /// Folder of the test pictures, below the source; recognized if `None`.
    pub test: Option<Place>,
    /// Prepare a source even if most of its pictures can't be used.
    pub allow_unreadable: bool,
    /// Give a data set at the destination another name (`NAME.before`) instead of refusing.
    pub replace: bool,
    /// Accepts archives that are cut short or hold less than their lists say.
    pub partial: bool,
}

/// A folder of a source that the options choose for a split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder, by its path below the source.
    Folder(PathBuf),
    /// No folder: the source's own is not used.
    None,
}

impl FromStr for Place {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "none" { Self::None } else { Self::Folder(text.into()) })
    }
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
            train: None,
            val: None,
            test: None,
            allow_unreadable: false,
            replace: false,
            partial: false,
        }
    }
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
    /// The data set that was at the destination before, under its new name.
    pub before: Option<PathBuf>,
}

/// Reads a source: recognizes its layout and lists its pictures, without opening any of them.
///
/// # Errors
/// [`Error::Layout`] if `source` isn't any known layout, [`Error::Setting`] for impossible options,
/// [`Error::Io`].
pub fn read(source: &Path, options: &Options) -> Result<Reading, Error> {
    options.check()?;
    info_span!("read").in_scope(|| {
        let mut reading = find::find(source, options)?;
        source_files::complete(&mut reading, source);
        if options.partial {
            reading.accept_partial();
        }
        Ok(reading)
    })
}

/// Makes a data set at `dest` from what was read.
///
/// An interrupted preparation is resumed if source and options are the same: whatever
/// interrupts it, and however often, the bytes of the data set are the same.
///
/// # Errors
/// [`Error::Doubtful`] if the reading has doubts or most pictures can't be used, [`Error::Layout`]
/// if none can, [`Error::Destination`] if `dest` isn't free, [`Error::Stopped`] if `watch` asked
/// for that, [`Error::Setting`] for impossible options, [`Error::Io`]. A picture that can't be used
/// is no error: it is listed.
pub fn store(
    reading: Reading,
    source: &Path,
    dest: &Path,
    options: &Options,
    watch: &dyn Watch,
) -> Result<Report, Error> {
    options.check()?;
    reading.check(source)?;
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .build()
        .map_err(|e| Error::Setting { setting: "threads", why: e.to_string() })?;
    let folder = Partial::open(dest, options.replace, watch)?;
    let files = SourceList::of(&reading.files);
    folder.begin(&key::of(&reading, options, &files.fingerprint), watch)?;
    let made = match folder.complete() {
        Some(summary) => Ok(summary),
        None => info_span!("store").in_scope(|| {
            threads.install(|| write(reading, source, &folder, options, &files, watch))
        }),
    };
    let summary = match made {
        Ok(summary) => summary,
        Err(error) => return Err(interrupted(error, folder)),
    };
    let published = folder.publish(&summary, options.replace)?;
    info!(n_train = summary.n_train, n_val = summary.n_val, "data set prepared");
    let notes = summary.notes.clone();
    Ok(Report { path: published.path, summary, notes, before: published.before })
}

/// Keeps or removes what was written before an error.
fn interrupted(error: Error, folder: Partial) -> Error {
    // What can't be read now may be there the next time.
    let (stored, is_known) = writer::stored(&folder).map_or((0, false), |stored| (stored, true));
    let again = matches!(error, Error::Stopped { .. } | Error::Io { .. });
    let kept = (again && (stored > 0 || !is_known)).then(|| folder.path().to_owned());
    if kept.is_none() {
        folder.abandon();
    }
    match error {
        Error::Stopped { .. } => Error::Stopped { stored, kept },
        error => error,
    }
}

/// Writes all files of a data set.
fn write(
    mut reading: Reading,
    source: &Path,
    folder: &Partial,
    options: &Options,
    files: &SourceList,
    watch: &dyn Watch,
) -> Result<Summary, Error> {
    let mut job = Job::new(&reading, folder, options, watch);
    let (side, encoding) = (job.side(), job.encoding());
    let splits = job.store()?;
    if splits.train.records.is_empty() {
        return Err(no_pictures(source, &reading, &splits, &job.reasons()));
    }
    watch.progress(Progress { phase: Phase::Finishing, done: 0, total: 0, left_out: 0 });
    let Splits { train, val, test, val_from, left_out } = &splits;
    let n_classes = reading.classes.len();
    let [n_train, n_val] = [train, val].map(|split| split.per_class(n_classes));
    let n_test = test.as_ref().map_or_else(|| vec![0; n_classes], |t| t.per_class(n_classes));
    let classes: Vec<_> = (reading.classes.iter().enumerate())
        .map(|(label, (key, name))| Class {
            key: key.clone(),
            name: name.clone(),
            n_train: n_train[label],
            n_val: n_val[label],
            n_test: n_test[label],
        })
        .collect();
    let notes = notes(&reading, &splits, &classes, folder, options)?;
    let sums = train.sums.as_ref();
    let mean = sums.map(|sums| proto::chunk::floats_to_bytes(&sums.mean())).unwrap_or_default();
    let kinds = reading.passed_over.kinds();
    let summary = Summary {
        format: FORMAT,
        name: options.name.clone().unwrap_or_else(|| reading.name.clone()),
        source: reading.layout.into(),
        side,
        encoding,
        quality: (encoding == PictureEncoding::Jpeg).then_some(options.quality),
        n_train: train.n_images(),
        n_val: val.n_images(),
        n_test: test.as_ref().map_or(0, Written::n_images),
        val_from: val_from.clone(),
        classes,
        colors: sums.map(|sums| sums.colors()).unwrap_or_default(),
        mean: folder.write(MEAN, &mean)?,
        train_index: train.write_index(folder)?,
        train_shards: train.shards.clone(),
        val_index: val.write_index(folder)?,
        val_shards: val.shards.clone(),
        test_index: test.as_ref().map(|test| test.write_index(folder)).transpose()?,
        test_shards: test.as_ref().map(|test| test.shards.clone()).unwrap_or_default(),
        source_path: std::path::absolute(source).ok().map(|path| path.display().to_string()),
        fingerprint: Some(files.fingerprint.clone()),
        source_files: Some(folder.write(SOURCE_FILES, &files.gzip)?),
        notes,
        passed_over: kinds
            .map(|(kind, n, first)| PassedOverKind { kind: kind.into(), n, first: first.into() })
            .collect(),
        left_out: reading.left_out.drain(..).chain(left_out.iter().cloned()).collect(),
    };
    folder.describe(&summary)?;
    Ok(summary)
}

/// Makes a data set at `dest` from `source`: [`read()`], then [`store()`].
///
/// # Errors
/// As those two.
pub fn prepare(
    source: &Path,
    dest: &Path,
    options: &Options,
    watch: &dyn Watch,
) -> Result<Report, Error> {
    store(read(source, options)?, source, dest, options, watch)
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

/// Remarks for people about a data set.
fn notes(
    reading: &Reading,
    splits: &Splits,
    classes: &[Class],
    folder: &Partial,
    options: &Options,
) -> Result<Vec<String>, Error> {
    let mut notes = reading.notes.clone();
    if reading.val.is_none() && splits.val.records.is_empty() {
        let why = match options.val_share == 0.0 {
            true => "none are set aside (--val-share 0)",
            false => "no class has two pictures or more to set one aside",
        };
        notes.push(format!("no validation pictures: the source has none, and {why}"));
    }
    notes.extend(empty_classes(classes));
    let pictures = |split: &str| match (split, &reading.val, &reading.test) {
        ("val", Some(val), _) => val,
        ("test", _, Some(test)) => test,
        _ => &reading.train,
    };
    let name_of = |w: &Written, i: usize| reading.name_of(&pictures(w.name)[w.places[i] as usize]);
    let shards = files::Folder::open(folder.path())?;
    for other in [Some(&splits.val), splits.test.as_ref()].into_iter().flatten() {
        notes.extend(duplicates::note(&shards, &splits.train, other, name_of)?);
    }
    Ok(notes)
}

fn empty_classes(classes: &[Class]) -> Option<String> {
    let empty: Vec<_> = classes.iter().filter(|c| c.n_train == 0).map(|c| c.key.as_str()).collect();
    match empty[..] {
        [] => None,
        [key] => Some(format!(
            "class {key} has no training picture; it keeps its place among the labels"
        )),
        _ => {
            let first = empty[..empty.len().min(5)].join(", ");
            let more = if empty.len() > 5 { ", …" } else { "" };
            Some(format!(
                "{} classes have no training picture; they keep their places among the labels: \
                 {first}{more}",
                empty.len()
            ))
        }
    }
}

fn no_pictures(source: &Path, reading: &Reading, splits: &Splits, reasons: &str) -> Error {
    let n = reading.left_out.len() + splits.left_out.len();
    let why = match reading.left_out.first() {
        _ if !reasons.is_empty() => {
            format!("no training picture can be used; {n} files left out: {reasons}")
        }
        Some(LeftOut { file, reason }) => {
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
