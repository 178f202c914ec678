//! A prepared data set on disk: checked when opened, read at random, every record checked by CRC.

mod format; // the files of a data set, field by field

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use proto::digest::sha256_of_all;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use crate::picture::catching_panics;
use crate::{Description, Error, Split};

pub use format::{Class, FileDigest, LeftOut, PictureEncoding, Summary};
pub(crate) use format::{DESCRIPTION, FORMAT, MEAN, Record, SUMS, index_bytes};

/// A prepared data set, open.
#[derive(Debug)]
pub struct DataSet {
    description: Description,
    summary: Summary,
    train: SplitFiles,
    val: SplitFiles,
}

/// The index and the open shards of one split.
#[derive(Debug)]
struct SplitFiles {
    records: Vec<Record>,
    shards: Vec<(PathBuf, File)>,
}

impl DataSet {
    /// Opens a folder that [`prepare`](crate::prepare()) made.
    ///
    /// The description, the indices and the mean image are checked whole. Shards are checked by
    /// their length here, and record by record when they are read.
    ///
    /// # Errors
    /// [`Error::NoDataSet`], [`Error::Format`], or [`Error::Damaged`] naming the file.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let (summary, digest) = format::read_summary(folder)?;
        let mean = format::read_checked(folder, &summary.mean)?;
        let mean = proto::chunk::mean_image(&mean, summary.side)
            .ok_or_else(|| damaged(folder.join(MEAN), "the mean image", "wrong length".into()))?;
        let train = SplitFiles::open(folder, &summary, Split::Train)?;
        let val = SplitFiles::open(folder, &summary, Split::Val)?;
        let description = Description {
            name: summary.name.clone(),
            digest,
            side: summary.side,
            classes: summary.class_names(),
            n_train: summary.n_train,
            n_val: summary.n_val,
            mean,
            colors: summary.colors,
        };
        Ok(Self { description, summary, train, val })
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
        let files = match split {
            Split::Train => &self.train,
            Split::Val => &self.val,
        };
        let record = files.records[index as usize];
        let (path, shard) = &files.shards[record.shard as usize];
        let bad =
            |why: String| damaged(path.clone(), &format!("{} picture {index}", split.name()), why);
        stored.resize(record.length as usize, 0);
        shard.read_exact_at(stored, record.offset).map_err(|e| bad(e.to_string()))?;
        let crc = crc32fast::hash(stored);
        if crc != record.crc32 {
            return Err(bad(format!("checksum {crc:08x}, written {:08x}", record.crc32)));
        }
        pixels.resize(3 * self.summary.side * self.summary.side, 0);
        match self.summary.encoding {
            PictureEncoding::Jpeg => catching_panics(|| decode(stored, pixels)).map_err(bad)?,
            PictureEncoding::Raw if stored.len() == pixels.len() => pixels.copy_from_slice(stored),
            PictureEncoding::Raw => {
                return Err(bad(format!("{} bytes, expected {}", stored.len(), pixels.len())));
            }
        }
        Ok(record.label)
    }

    /// Checks every shard whole, against the digests in `dataset.json`.
    ///
    /// # Errors
    /// [`Error::Damaged`] naming the first that differs.
    pub fn verify(&self) -> Result<(), Error> {
        let shards = |split| self.summary.shards(split).iter();
        let opened = self.train.shards.iter().chain(&self.val.shards);
        for (want, (path, _)) in shards(Split::Train).chain(shards(Split::Val)).zip(opened) {
            let shard = File::open(path).map_err(Error::io(path, "open"))?;
            let (got, _) = sha256_of_all(shard).map_err(Error::io(path, "read"))?;
            if got != want.sha256 {
                let why = format!("SHA-256 {got}, written {}", want.sha256);
                return Err(damaged(path.clone(), "the shard", why));
            }
        }
        Ok(())
    }
}

impl SplitFiles {
    fn open(folder: &Path, summary: &Summary, split: Split) -> Result<Self, Error> {
        let index = summary.index(split);
        let path = folder.join(&index.file);
        let bytes = format::read_checked(folder, index)?;
        let shards = summary.shards(split);
        let records = format::records(&bytes).filter(|records| {
            let n_shards = shards.len() as u32;
            let n_classes = summary.classes.len() as u32;
            // A record beyond its shard's end would have memory taken for it before it is read.
            let inside = |r: &Record| {
                let end = r.offset.checked_add(r.length.into());
                end.is_some_and(|end| end <= shards[r.shard as usize].bytes)
            };
            let fits = |r: &Record| r.shard < n_shards && r.label < n_classes && inside(r);
            records.len() as u64 == summary.count(split) && records.iter().all(fits)
        });
        let Some(records) = records else {
            let why =
                format!("it doesn't hold the {} pictures of {DESCRIPTION}", summary.count(split));
            return Err(damaged(path, "the index", why));
        };
        let shards =
            shards.iter().map(|shard| open_shard(folder, shard)).collect::<Result<_, _>>()?;
        Ok(Self { records, shards })
    }
}

fn open_shard(folder: &Path, shard: &FileDigest) -> Result<(PathBuf, File), Error> {
    let path = folder.join(&shard.file);
    let file = File::open(&path).map_err(Error::io(&path, "open"))?;
    let length = file.metadata().map_err(Error::io(&path, "read"))?.len();
    if length != shard.bytes {
        let why = format!("{length} bytes, written {}", shard.bytes);
        return Err(damaged(path, "the shard", why));
    }
    Ok((path, file))
}

fn damaged(file: PathBuf, record: &str, why: String) -> Error {
    Error::Damaged { file, record: record.into(), why }
}

/// Decodes a stored JPEG into `[side, side, 3]`.
fn decode(jpeg: &[u8], pixels: &mut [u8]) -> Result<(), String> {
    let options = DecoderOptions::new_fast().jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
    decoder.decode_headers().map_err(|e| e.to_string())?;
    match decoder.output_buffer_size() {
        Some(n) if n == pixels.len() => {
            decoder.decode_into(pixels).map_err(|e| format!("JPEG: {e}"))
        }
        n => Err(format!("{n:?} bytes of pixels, expected {}", pixels.len())),
    }
}

#[cfg(test)]
mod tests;
