//! The files of a prepared data set, field by field.
//!
//! ```text
//! dataset.json      all that is known about the data set
//! SHA256SUMS        digests of all files, for `sha256sum -c`
//! mean.f32          mean training picture, [3, side, side], little-endian
//! train.index       records of 24 bytes: shard, label, offset, length, crc32
//! train-00000.tar   WebDataset: NNNNNNNN.jpg (or .ppm) and NNNNNNNN.cls (the label in decimal)
//! val.index  val-00000.tar  …
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
/// Version of the files; raised when they change in a way that older programs can't read.
pub(crate) const FORMAT: u32 = 1;

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
    /// Number of training pictures.
    pub n_train: u64,
    /// Number of validation pictures.
    pub n_val: u64,
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
    /// Files that were found and couldn't be used.
    pub left_out: Vec<LeftOut>,
}

/// The encoding of stored pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PictureEncoding {
    /// JPEG files.
    Jpeg,
    /// Pixels as they are, in PPM files.
    Raw,
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
        }
    }

    pub(super) fn index(&self, split: Split) -> &FileDigest {
        match split {
            Split::Train => &self.train_index,
            Split::Val => &self.val_index,
        }
    }

    pub(super) fn shards(&self, split: Split) -> &[FileDigest] {
        match split {
            Split::Train => &self.train_shards,
            Split::Val => &self.val_shards,
        }
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

/// Reads and checks `dataset.json`; returns its contents and its SHA-256, the data set's digest.
pub(super) fn read_summary(folder: &Path) -> Result<(Summary, String), Error> {
    let path = folder.join(DESCRIPTION);
    for missing in [DESCRIPTION, SUMS] {
        if !folder.join(missing).is_file() {
            return Err(Error::NoDataSet { path: folder.into(), missing });
        }
    }
    let json = std::fs::read(&path).map_err(Error::io(&path, "read"))?;
    let digest = sha256(&json);
    let sums_path = folder.join(SUMS);
    let sums = std::fs::read(&sums_path).map_err(Error::io(&sums_path, "read"))?;
    let line = format!("{digest}  {DESCRIPTION}");
    if !String::from_utf8_lossy(&sums).lines().any(|l| l == line) {
        let why = format!("its SHA-256 {digest} is not the one in {SUMS}");
        return Err(damaged(path, "the description", why));
    }
    let text = |e: serde_json::Error| damaged(path.clone(), "the description", e.to_string());
    /// The field that every version of the file has.
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let version: Version = serde_json::from_slice(&json).map_err(text)?;
    if version.format != FORMAT {
        return Err(Error::Format { path: path.clone(), got: version.format, want: FORMAT });
    }
    Ok((serde_json::from_slice(&json).map_err(text)?, digest))
}

/// Reads a whole file and checks its digest.
pub(super) fn read_checked(folder: &Path, want: &FileDigest) -> Result<Vec<u8>, Error> {
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
