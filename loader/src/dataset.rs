//! A prepared data set on disk: checked when opened, read at random, every record checked by CRC.

mod format; // the files of a data set, field by field
mod source_list; // the files of the source, and what has changed since

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto::digest::hex;
use sha2::{Digest, Sha256};

use crate::files::Folder;
use crate::{Description, Error, Split};

pub use format::{
    Class, FileDigest, LeftOut, PassedOverKind, PictureEncoding, Summary, is_prepared,
};
pub(crate) use format::{
    DESCRIPTION, FORMAT, MEAN, Record, SUMS, index_bytes, read_checked, read_summary,
};
pub use source_list::{Changes, Files, changes_since};
pub(crate) use source_list::{SOURCE_FILES, SourceList};

/// A prepared data set, open.
#[derive(Debug)]
pub struct DataSet {
    description: Description,
    summary: Summary,
    folder: Folder,
    /// Training, validation and test pictures.
    splits: [SplitFiles; 3],
}

/// The index and the shards of one split.
#[derive(Debug)]
struct SplitFiles {
    records: Vec<Record>,
    shards: Vec<FileDigest>,
}

/// Reads only the description of a folder that [`prepare`](crate::prepare()) made; returns its
/// contents and the digest of pictures and labels.
///
/// # Errors
/// As [`DataSet::open`].
pub fn describe(folder: &Path) -> Result<(Summary, String), Error> {
    read_summary(folder)
}

impl DataSet {
    /// Opens a folder that [`prepare`](crate::prepare()) made.
    ///
    /// The description, the indices and the mean image are checked whole. Shards are checked by
    /// their length here, and record by record when they are read; few of them are open at a time.
    /// The folder may get another name meanwhile.
    ///
    /// # Errors
    /// [`Error::NoDataSet`], [`Error::Format`], or [`Error::Damaged`] naming the file.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let files = Folder::open(folder)?;
        let (summary, digest) = read_summary(folder)?;
        let mean = read_checked(folder, &summary.mean)?;
        let mean = proto::chunk::mean_image(&mean, summary.side)
            .ok_or_else(|| damaged(folder.join(MEAN), "the mean image", "wrong length".into()))?;
        let split = |split| SplitFiles::open(&files, &summary, split);
        let splits = [split(Split::Train)?, split(Split::Val)?, split(Split::Test)?];
        let description = Description {
            name: summary.name.clone(),
            digest,
            side: summary.side,
            classes: summary.class_names(),
            n_train: summary.n_train,
            n_val: summary.n_val,
            n_test: summary.n_test,
            mean,
            colors: summary.colors,
        };
        Ok(Self { description, summary, folder: files, splits })
    }

    /// The properties of this data set that a network depends on.
    pub fn describe(&self) -> &Description {
        &self.description
    }

    /// The contents of `dataset.json`.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Reads a picture into `pixels` (`[side, side, 3]`) and returns its label.
    ///
    /// `index` must be below the split's count. `stored` is scratch memory.
    ///
    /// # Errors
    /// [`Error::Damaged`] naming shard and record.
    pub fn read(
        &self,
        split: Split,
        index: u64,
        stored: &mut Vec<u8>,
        pixels: &mut Vec<u8>,
    ) -> Result<u32, Error> {
        let encoding = self.read_stored(split, index, stored)?;
        pixels.resize(3 * self.summary.side * self.summary.side, 0);
        match encoding {
            PictureEncoding::Jpeg => picture::stored_jpeg(stored, pixels)
                .map_err(|why| self.damaged_picture(split, index, why))?,
            PictureEncoding::Raw => pixels.copy_from_slice(stored),
        }
        Ok(self.splits[split as usize].records[index as usize].label)
    }

    /// Reads a picture into `stored` as it is stored, without decoding it, and returns its
    /// encoding.
    ///
    /// # Errors
    /// As [`DataSet::read`].
    pub fn read_stored(
        &self,
        split: Split,
        index: u64,
        stored: &mut Vec<u8>,
    ) -> Result<PictureEncoding, Error> {
        let bad = |why| self.damaged_picture(split, index, why);
        let record = self.splits[split as usize].records[index as usize];
        let shard = self.shard(split, record.shard)?;
        stored.resize(record.length as usize, 0);
        shard.read_exact_at(stored, record.offset).map_err(|e| bad(e.to_string()))?;
        let crc = crc32fast::hash(stored);
        if crc != record.crc32 {
            return Err(bad(format!("checksum {crc:08x}, written {:08x}", record.crc32)));
        }
        Ok(self.summary.encoding.of_record(stored.len(), self.summary.side))
    }

    fn damaged_picture(&self, split: Split, index: u64, why: String) -> Error {
        let files = &self.splits[split as usize];
        let shard = files.records[index as usize].shard;
        let file = self.folder.path().join(&files.shards[shard as usize].file);
        damaged(file, &format!("{} picture {index}", split.name()), why)
    }

    fn shard(&self, split: Split, number: u32) -> Result<Arc<File>, Error> {
        let name = &self.splits[split as usize].shards[number as usize].file;
        self.folder.file((split as u32, number), name)
    }

    /// Checks every shard whole, against the digests in `dataset.json`.
    ///
    /// # Errors
    /// [`Error::Damaged`] naming the first that differs.
    pub fn verify(&self) -> Result<(), Error> {
        self.verify_with(&|_, _| ())
    }

    /// As [`DataSet::verify`]; calls `progress` after every megabyte with the number of bytes that
    /// are checked and with that of all bytes.
    ///
    /// # Errors
    /// As there.
    pub fn verify_with(&self, progress: &dyn Fn(u64, u64)) -> Result<(), Error> {
        let shards = || self.splits.iter().flat_map(|split| &split.shards);
        let all = shards().map(|shard| shard.bytes).sum();
        let mut done = 0;
        let mut buffer = vec![0; 1 << 20];
        for want in shards() {
            let path = self.folder.path().join(&want.file);
            let shard = self.folder.open_file(&want.file)?;
            let (mut hash, mut at) = (Sha256::new(), 0);
            loop {
                let n = shard.read_at(&mut buffer, at).map_err(Error::io(&path, "read"))?;
                if n == 0 {
                    break;
                }
                hash.update(&buffer[..n]);
                at += n as u64;
                progress(done + at, all);
            }
            done += want.bytes;
            let got = hex(&hash.finalize());
            if got != want.sha256 {
                let why = format!("SHA-256 {got}, written {}", want.sha256);
                return Err(damaged(path, "the shard", why));
            }
        }
        Ok(())
    }
}

impl SplitFiles {
    fn open(folder: &Folder, summary: &Summary, split: Split) -> Result<Self, Error> {
        let (shards, count) = (summary.shards(split).to_vec(), summary.count(split));
        let Some(index) = summary.index(split) else {
            return Ok(Self { records: Vec::new(), shards });
        };
        let path = folder.path().join(&index.file);
        let bytes = read_checked(folder.path(), index)?;
        let records = format::records(&bytes).filter(|records| {
            let n_shards = shards.len() as u32;
            let n_classes = summary.classes.len() as u32;
            // A record beyond its shard's end would have memory taken for it before it is read.
            let inside = |r: &Record| {
                let end = r.offset.checked_add(r.length.into());
                end.is_some_and(|end| end <= shards[r.shard as usize].bytes)
            };
            let fits = |r: &Record| r.shard < n_shards && r.label < n_classes && inside(r);
            records.len() as u64 == count && records.iter().all(fits)
        });
        let Some(records) = records else {
            let why = format!("it doesn't hold the {count} pictures of {DESCRIPTION}");
            return Err(damaged(path, "the index", why));
        };
        shards.iter().try_for_each(|shard| check_length(folder.path(), shard))?;
        Ok(Self { records, shards })
    }
}

fn check_length(folder: &Path, shard: &FileDigest) -> Result<(), Error> {
    let path = folder.join(&shard.file);
    let length = std::fs::metadata(&path).map_err(Error::io(&path, "open"))?.len();
    if length != shard.bytes {
        let why = format!("{length} bytes, written {}", shard.bytes);
        return Err(damaged(path, "the shard", why));
    }
    Ok(())
}

fn damaged(file: PathBuf, record: &str, why: String) -> Error {
    Error::Damaged { file, record: record.into(), why }
}

#[cfg(test)]
mod tests;
