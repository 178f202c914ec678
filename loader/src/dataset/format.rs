//! The files of a prepared data set, field by field.
//!
//! ```text
//! dataset.json      all that is known about the data set
//! SHA256SUMS        digests of all files, for `sha256sum -c`
//! mean.f32          mean training picture, [3, side, side], little-endian
//! train.index       records of 24 bytes: shard, label, offset, length, crc32
//! train-00000.tar   WebDataset: NNNNNNNN.jpg (or .ppm) and NNNNNNNN.cls (the label in decimal)
//! val.index  val-00000.tar  …
//! test.index  test-00000.tar  …   where the source has a third split
//! source.tsv.gz     files of the source, with lengths and times
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use proto::digest::sha256;
use serde::{Deserialize, Serialize};

use super::damaged;
use crate::{Error, Split};

pub(crate) const DESCRIPTION: &str = "dataset.json";
pub(crate) const SUMS: &str = "SHA256SUMS";
pub(crate) const MEAN: &str = "mean.f32";
/// Version of the files that this program writes; raised when they change in a way that older
/// programs can't read. All versions from 1 on are read.
pub(crate) const FORMAT: u32 = 3;

const INDEX_MAGIC: &[u8; 8] = b"ALEXIDX1";

/// The contents of `dataset.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Version of these files.
    pub format: u32,
    /// Name of the data set.
    pub name: String,
    /// Layout that the data set was made from: `folders`, `cifar-10`, `ilsvrc-2012`, `webdataset`.
    pub source: String,
    /// Stored pictures are side × side.
    pub side: usize,
    /// Encoding of the stored pictures.
    pub encoding: PictureEncoding,
    /// Quality of the JPEG files; `None` where pixels are stored as they are, and in format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<u8>,
    /// Number of training pictures.
    pub n_train: u64,
    /// Number of validation pictures.
    pub n_val: u64,
    /// Number of test pictures.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub n_test: u64,
    /// Origin of the validation pictures, in words.
    pub val_from: String,
    /// Classes in label order.
    pub classes: Vec<Class>,
    /// Principal components of the training pixels' colors, times their standard deviations.
    pub colors: [[f32; 3]; 3],
    /// File of the mean image.
    pub mean: FileDigest,
    /// Index of the training pictures.
    pub train_index: FileDigest,
    /// Shards of training pictures.
    pub train_shards: Vec<FileDigest>,
    /// Index of the validation pictures.
    pub val_index: FileDigest,
    /// Shards of validation pictures.
    pub val_shards: Vec<FileDigest>,
    /// Index of the test pictures; `None` without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_index: Option<FileDigest>,
    /// Shards of test pictures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub test_shards: Vec<FileDigest>,
    /// Path of the source when it was prepared; `None` in format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_path: Option<String>,
    /// SHA-256 of the list of the source's files; `None` in format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The list of the source's files, compressed; `None` in format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_files: Option<FileDigest>,
    /// Remarks for people, as `prepare` printed them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Files and folders of systems and other programs, by kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<PassedOverKind>,
    /// Files that were found and couldn't be used.
    pub left_out: Vec<LeftOut>,
}

/// The encoding of stored pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PictureEncoding {
    /// JPEG files.
    Jpeg,
    /// Pixels as they are, in PPM files; a JPEG that has exactly these pixels may stand for them.
    Raw,
}

impl PictureEncoding {
    /// Encoding of one stored picture of `length` bytes: among raw pixels, any length but theirs is
    /// that of a JPEG file.
    pub(crate) fn of_record(self, length: usize, side: usize) -> Self {
        if self == Self::Raw && length == 3 * side * side { Self::Raw } else { Self::Jpeg }
    }
}

/// A class of pictures; one without training pictures keeps its label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    /// Folder name or WordNet id, unique among the classes.
    pub key: String,
    /// Name for people; two classes may share one.
    pub name: String,
    /// Number of training pictures.
    pub n_train: u64,
    /// Number of validation pictures.
    pub n_val: u64,
    /// Number of test pictures.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub n_test: u64,
}

/// A kind of thing in the source that is nobody's picture, such as thumbnails of Windows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOverKind {
    /// Description of the kind.
    pub kind: String,
    /// Number of files and folders of this kind.
    pub n: u64,
    /// The first one.
    pub first: String,
}

/// A file with the length and the digest that it must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigest {
    /// Name in the data set's folder.
    pub file: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256, in hex.
    pub sha256: String,
}

/// A file that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The file, or archive and member.
    pub file: String,
    /// Reason for leaving it out.
    pub reason: String,
}

/// The location of one picture, and its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) shard: u32,
    pub(crate) label: u32,
    pub(crate) offset: u64,
    pub(crate) length: u32,
    pub(crate) crc32: u32,
}

impl Summary {
    /// Number of pictures in a split.
    pub fn count(&self, split: Split) -> u64 {
        match split {
            Split::Train => self.n_train,
            Split::Val => self.n_val,
            Split::Test => self.n_test,
        }
    }

    pub(super) fn index(&self, split: Split) -> Option<&FileDigest> {
        match split {
            Split::Train => Some(&self.train_index),
            Split::Val => Some(&self.val_index),
            Split::Test => self.test_index.as_ref(),
        }
    }

    pub(super) fn shards(&self, split: Split) -> &[FileDigest] {
        match split {
            Split::Train => &self.train_shards,
            Split::Val => &self.val_shards,
            Split::Test => &self.test_shards,
        }
    }

    /// All files of the data set except its description and `SHA256SUMS`.
    pub(crate) fn files(&self) -> impl Iterator<Item = &FileDigest> {
        let single = [Some(&self.mean), Some(&self.train_index), Some(&self.val_index)];
        let optional = [self.test_index.as_ref(), self.source_files.as_ref()];
        let shards = self.train_shards.iter().chain(&self.val_shards).chain(&self.test_shards);
        single.into_iter().chain(optional).flatten().chain(shards)
    }

    /// Length of all files in bytes, without the description.
    pub fn bytes(&self) -> u64 {
        self.files().map(|file| file.bytes).sum()
    }

    /// The identity of the pictures and labels: a SHA-256 over everything that training reads.
    ///
    /// Names, the test split and remarks about the source are not part of it.
    fn pictures_digest(&self) -> String {
        let keys: Vec<_> = self.classes.iter().map(|class| &class.key).collect();
        let of = |file: &FileDigest| file.sha256.clone();
        let shards = |files: &[FileDigest]| files.iter().map(of).collect::<Vec<_>>();
        let parts = serde_json::json!([
            "data set",
            2,
            self.side,
            self.encoding,
            keys,
            of(&self.mean),
            [of(&self.train_index), of(&self.val_index)],
            [shards(&self.train_shards), shards(&self.val_shards)],
        ]);
        sha256(parts.to_string().as_bytes())
    }

    /// Unique names of the classes: a name that two classes share ("crane") gets its key added.
    pub fn class_names(&self) -> Vec<String> {
        let mut n_of = BTreeMap::new();
        for class in &self.classes {
            *n_of.entry(class.name.as_str()).or_insert(0) += 1;
        }
        let unique = |class: &Class| match n_of[class.name.as_str()] {
            1 => class.name.clone(),
            _ => format!("{} ({})", class.name, class.key),
        };
        self.classes.iter().map(unique).collect()
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// The field that every version of the file has.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

/// Tells whether a folder was made by [`prepare`](crate::prepare()), damaged or not. Another
/// program's `dataset.json` does not make it one.
pub fn is_prepared(folder: &Path) -> bool {
    let path = folder.join(DESCRIPTION);
    if !path.is_file() {
        return false;
    }
    let sums = std::fs::read(folder.join(SUMS)).unwrap_or_default();
    let end = format!("  {DESCRIPTION}");
    if String::from_utf8_lossy(&sums).lines().any(|line| line.ends_with(&end)) {
        return true;
    }
    // A data set without its sums is one that should be refused, not prepared anew.
    let json = std::fs::read(&path).ok();
    let json = json.and_then(|json| serde_json::from_slice::<serde_json::Value>(&json).ok());
    json.is_some_and(|json| json["format"].is_u64() && json["train_index"].is_object())
}

/// Reads and checks `dataset.json`; returns its contents and the digest of pictures and labels.
pub(crate) fn read_summary(folder: &Path) -> Result<(Summary, String), Error> {
    let path = folder.join(DESCRIPTION);
    for missing in [DESCRIPTION, SUMS] {
        if !folder.join(missing).is_file() {
            return Err(Error::NoDataSet { path: folder.into(), missing });
        }
    }
    let json = std::fs::read(&path).map_err(Error::io(&path, "read"))?;
    // Before anything else: a newer version may have other sums.
    let version = serde_json::from_slice::<Version>(&json).map(|version| version.format);
    if let Ok(got) = version
        && !(1..=FORMAT).contains(&got)
    {
        return Err(Error::Format { path, got, want: FORMAT });
    }
    let digest = sha256(&json);
    let sums_path = folder.join(SUMS);
    let sums = std::fs::read(&sums_path).map_err(Error::io(&sums_path, "read"))?;
    let line = format!("{digest}  {DESCRIPTION}");
    if !String::from_utf8_lossy(&sums).lines().any(|l| l == line) {
        let why = format!("its SHA-256 {digest} is not the one in {SUMS}");
        return Err(damaged(path, "the description", why));
    }
    let format = version.map_err(|e| damaged(path.clone(), "the description", e.to_string()))?;
    let summary: Summary = serde_json::from_slice(&json).map_err(|e| match e.is_data() {
        // The sum is right, so these are the bytes that some version wrote.
        true => Error::OtherVersion { path: path.clone(), format, why: e.to_string() },
        false => damaged(path.clone(), "the description", e.to_string()),
    })?;
    // Runs that began with a set of format 1 know it by the digest of its description.
    let digest = if format == 1 { digest } else { summary.pictures_digest() };
    Ok((summary, digest))
}

/// Reads a whole file and checks its digest.
pub(crate) fn read_checked(folder: &Path, want: &FileDigest) -> Result<Vec<u8>, Error> {
    let path = folder.join(&want.file);
    let bytes = std::fs::read(&path).map_err(Error::io(&path, "read"))?;
    let got = sha256(&bytes);
    if got != want.sha256 {
        let why = format!("{} bytes with SHA-256 {got}, written {}", bytes.len(), want.sha256);
        return Err(damaged(path, "the whole file", why));
    }
    Ok(bytes)
}

/// The bytes of an index file: magic, then the records.
pub(crate) fn index_bytes(records: &[Record]) -> Vec<u8> {
    let mut bytes = INDEX_MAGIC.to_vec();
    for r in records {
        bytes.extend(r.shard.to_le_bytes());
        bytes.extend(r.label.to_le_bytes());
        bytes.extend(r.offset.to_le_bytes());
        bytes.extend(r.length.to_le_bytes());
        bytes.extend(r.crc32.to_le_bytes());
    }
    bytes
}

/// The records of an index file; `None` if it isn't one.
pub(super) fn records(bytes: &[u8]) -> Option<Vec<Record>> {
    let (records, rest) = bytes.strip_prefix(INDEX_MAGIC)?.as_chunks::<24>();
    let record = |r: &[u8; 24]| {
        let word = |i: usize| u32::from_le_bytes([r[i], r[i + 1], r[i + 2], r[i + 3]]);
        let offset = u64::from(word(8)) | u64::from(word(12)) << 32;
        Record { shard: word(0), label: word(4), offset, length: word(16), crc32: word(20) }
    };
    rest.is_empty().then(|| records.iter().map(record).collect())
}
