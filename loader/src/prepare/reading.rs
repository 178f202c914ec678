//! The contents of a source, before any picture is opened: pictures, classes, and everything that
//! is not used, with the reason.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::archive::Archive;
use crate::Error;
use crate::dataset::LeftOut;
use crate::doubt::{Doubt, Instead};

/// Upper bound for the length of a picture that is unpacked, in bytes.
const MAX_UNPACKED: u64 = 256 << 20;

/// The contents of a source, before any picture is opened.
///
/// Everything in the source is either used (`train`, `val`, `test`, lists such as `classes.txt`)
/// or named (`left_out`, `passed_over`).
#[derive(Debug, Default)]
pub struct Reading {
    /// Layout of the source: `folders`, `cifar-10`, `ilsvrc-2012`, `webdataset`, …
    pub layout: &'static str,
    /// Name of the data set, unless the options give one.
    pub name: String,
    /// Folder that is read: the source, or a folder inside it.
    pub root: PathBuf,
    /// Keys and names of the classes, in label order.
    pub classes: Vec<(String, String)>,
    /// Training pictures.
    pub train: Vec<Picture>,
    /// Validation pictures; `None` if the source has none of its own.
    pub val: Option<Vec<Picture>>,
    /// Test pictures with known classes; `None` if the source has none.
    pub test: Option<Vec<Picture>>,
    /// True if pictures are CIFAR-10's pixels instead of files.
    pub raw: bool,
    /// Files among the pictures that can't be used, each with the reason.
    pub left_out: Vec<LeftOut>,
    /// Files and folders that belong to the system or to other programs.
    pub passed_over: PassedOver,
    /// Remarks for people, such as classes without pictures.
    pub notes: Vec<String>,
    /// Reasons to refuse the source as it is.
    pub doubts: Vec<Doubt>,
    /// Files that decide what is prepared: pictures, archives, lists.
    pub files: Vec<SourceFile>,
    pub(super) archives: Vec<Archive>,
}

/// A picture of a source, not opened yet.
#[derive(Debug, Clone)]
pub struct Picture {
    /// Label of its class.
    pub label: u32,
    pub(super) location: Location,
}

/// The place of a picture's bytes.
#[derive(Debug, Clone)]
pub(super) enum Location {
    /// A file, by its path below the root.
    File(PathBuf),
    /// A member of one of the archives.
    Member { archive: u32, name: Box<str>, offset: u64, length: u64 },
}

/// Files and folders that are no pictures of anybody's: counted by reason, the first one named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PassedOver(BTreeMap<&'static str, (u64, String)>);

/// A file that decides what is prepared, for the recognition of changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceFile {
    /// Path below the source.
    pub path: PathBuf,
    /// Length in bytes.
    pub bytes: u64,
    /// Time of the last modification, in nanoseconds since 1970.
    pub modified_ns: i64,
}

impl Reading {
    /// Refuses a reading that has doubts.
    ///
    /// # Errors
    /// [`Error::Doubtful`] with all of them.
    pub fn check(&self, source: &Path) -> Result<(), Error> {
        if self.doubts.is_empty() {
            return Ok(());
        }
        Err(Error::Doubtful { path: source.into(), doubts: self.doubts.clone() })
    }

    pub(super) fn leave_out(&mut self, file: impl Into<String>, reason: impl Into<String>) {
        self.left_out.push(LeftOut { file: file.into(), reason: reason.into() });
    }

    pub(super) fn doubt(&mut self, why: impl Into<String>, instead: Option<Instead>) {
        self.doubts.push(Doubt { why: why.into(), instead });
    }

    pub(super) fn name_of(&self, picture: &Picture) -> String {
        match &picture.location {
            Location::File(path) => path.display().to_string(),
            Location::Member { archive, name, .. } => {
                format!("{}/{name}", self.archives[*archive as usize].name)
            }
        }
    }

    pub(super) fn bytes_of(&self, picture: &Picture) -> std::io::Result<Vec<u8>> {
        match &picture.location {
            Location::File(path) => std::fs::read(self.root.join(path)),
            Location::Member { archive, offset, length, .. } => {
                let bytes = self.archives[*archive as usize].read(*offset, *length)?;
                // A few pictures inside ILSVRC-2010's archives are compressed once more.
                if !self.raw && bytes.starts_with(&[0x1F, 0x8B]) {
                    unpack(&bytes)
                } else {
                    Ok(bytes)
                }
            }
        }
    }
}

/// Unpacks a picture that is compressed with gzip.
fn unpack(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(bytes).take(MAX_UNPACKED).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

impl PassedOver {
    pub(super) fn add(&mut self, reason: &'static str, file: impl FnOnce() -> String) {
        self.0.entry(reason).or_insert_with(|| (0, file())).0 += 1;
    }

    /// Reason, number and first file of each kind of thing that was passed over.
    pub fn kinds(&self) -> impl Iterator<Item = (&'static str, u64, &str)> {
        self.0.iter().map(|(reason, (n, first))| (*reason, *n, first.as_str()))
    }
}

impl SourceFile {
    /// Describes a file that exists.
    pub(super) fn of(path: PathBuf, metadata: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        let modified_ns = metadata.mtime().saturating_mul(1_000_000_000) + metadata.mtime_nsec();
        Self { path, bytes: metadata.len(), modified_ns }
    }

    /// Describes the file `path`, named relative to `source`; `None` if it can't be looked at.
    pub(super) fn at(source: &Path, path: &Path) -> Option<Self> {
        let below = path.strip_prefix(source).unwrap_or(path).to_owned();
        Some(Self::of(below, &std::fs::metadata(path).ok()?))
    }
}
