//! The files of a prepared data set, field by field.
//!
//! ```text
//! dataset.json      all that is known about it        SHA256SUMS   for `sha256sum -c`; sums dataset.json too
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
/// Raised when files change in a way that older programs can't read.
pub(crate) const FORMAT: u32 = 1;

const INDEX_MAGIC: &[u8; 8] = b"ALEXIDX1";

/// `dataset.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Version of these files.
    pub format: u32,
    /// The data set's name.
    pub name: String,
    /// What it was made from: `folders`, `cifar-10`, `ilsvrc-2012`, `webdataset`.
    pub source: String,
    /// Stored pictures are side × side.
    pub side: usize,
    /// How they are stored.
    pub encoding: Encoding,
    /// Training pictures.
    pub n_train: u64,
    /// Validation pictures.
    pub n_val: u64,
    /// How the validation pictures were chosen.
    pub val_from: String,
    /// In label order.
    pub classes: Vec<Class>,
    /// Principal components of the training pixels' colors, times their standard deviations.
    pub colors: [[f32; 3]; 3],
    /// The mean image.
    pub mean: FileSum,
    /// Where each training picture is.
    pub train_index: FileSum,
    /// The training pictures.
    pub train_shards: Vec<FileSum>,
    /// Where each validation picture is.
    pub val_index: FileSum,
    /// The validation pictures.
    pub val_shards: Vec<FileSum>,
    /// What was found and couldn't be used.
    pub left_out: Vec<LeftOut>,
}

/// How pictures are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// As JPEG.
    Jpeg,
    /// As they are, in PPM files.
    Raw,
}

/// A class of pictures; one without training pictures keeps its label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    /// Folder or WordNet id: no two have the same.
    pub key: String,
    /// What people call it: two may have the same.
    pub name: String,
    /// Training pictures.
    pub n_train: u64,
    /// Validation pictures.
    pub n_val: u64,
}

/// A file and what must be in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSum {
    /// Its name in the data set's folder.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in hex.
    pub sha256: String,
}

/// A file that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The file, or archive and member.
    pub file: String,
    /// Why.
    pub reason: String,
}

/// Where one picture is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) shard: u32,
    pub(crate) label: u32,
    pub(crate) offset: u64,
    pub(crate) length: u32,
    pub(crate) crc32: u32,
}

impl Summary {
    /// Pictures of a split.
    pub fn count(&self, split: Split) -> u64 {
        match split {
            Split::Train => self.n_train,
            Split::Val => self.n_val,
        }
    }

    pub(super) fn index(&self, split: Split) -> &FileSum {
        match split {
            Split::Train => &self.train_index,
            Split::Val => &self.val_index,
        }
    }

    pub(super) fn shards(&self, split: Split) -> &[FileSum] {
        match split {
            Split::Train => &self.train_shards,
            Split::Val => &self.val_shards,
        }
    }

    /// Names for people; where two classes share one ("crane"), the key is added.
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

/// Reads and checks `dataset.json`; its SHA-256 is the data set's digest.
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
    /// Of any version.
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

/// Reads a file whole and checks it.
pub(super) fn read_checked(folder: &Path, want: &FileSum) -> Result<Vec<u8>, Error> {
    let path = folder.join(&want.file);
    let bytes = std::fs::read(&path).map_err(Error::io(&path, "read"))?;
    let got = sha256(&bytes);
    if got != want.sha256 {
        let why = format!("{} bytes with SHA-256 {got}, written {}", bytes.len(), want.sha256);
        return Err(damaged(path, "the whole file", why));
    }
    Ok(bytes)
}

/// An index file: magic, then the records.
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
