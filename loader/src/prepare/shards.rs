//! Writes the files of a data set: tar shards (which any WebDataset reader can read), indices, mean
//! image, `dataset.json`, `SHA256SUMS`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use proto::digest::{hex, sha256};
use sha2::{Digest, Sha256};

use crate::dataset::{
    DESCRIPTION, FileDigest, MEAN, PictureEncoding, Record, SUMS, Summary, index_bytes,
};
use crate::statistics::PixelSums;
use crate::{Error, Split};

/// The folder being written, beside its destination; removed again unless it is published.
#[derive(Debug)]
pub(super) struct Folder(tempfile::TempDir);

impl Folder {
    /// Creates the folder for a destination, which must be free.
    pub(super) fn beside(dest: &Path) -> Result<Self, Error> {
        free(dest)?;
        let parent = match dest.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(parent).map_err(Error::io(parent, "create"))?;
        let name = dest.file_name().unwrap_or_default().to_string_lossy();
        let folder = tempfile::Builder::new()
            .prefix(&format!(".{name}.partial-"))
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir_in(parent)
            .map_err(Error::io(parent, "write"))?;
        Ok(Self(folder))
    }

    pub(super) fn write_mean(&self, sums: &PixelSums) -> Result<FileDigest, Error> {
        self.write(MEAN, &proto::chunk::floats_to_bytes(&sums.mean()))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<FileDigest, Error> {
        let path = self.0.path().join(name);
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        written.map_err(Error::io(&path, "write"))?;
        Ok(FileDigest { file: name.into(), bytes: bytes.len() as u64, sha256: sha256(bytes) })
    }

    /// Writes the description and moves the folder to its destination.
    pub(super) fn publish(self, dest: &Path, summary: &Summary) -> Result<PathBuf, Error> {
        let mut json = serde_json::to_vec_pretty(summary).map_err(|e| Error::Io {
            path: dest.join(DESCRIPTION),
            doing: "write",
            why: e.to_string(),
        })?;
        json.push(b'\n');
        let own = self.write(DESCRIPTION, &json)?;
        let files = [&own, &summary.mean, &summary.train_index, &summary.val_index];
        let files = files.into_iter().chain(&summary.train_shards).chain(&summary.val_shards);
        let sums: String = files.map(|f| format!("{}  {}\n", f.sha256, f.file)).collect();
        self.write(SUMS, sums.as_bytes())?;
        free(dest)?;
        // Replaces an empty folder, and nothing else.
        std::fs::rename(self.0.path(), dest)
            .map_err(Error::io(dest, "give the data set its name at"))?;
        let _ = self.0.keep();
        Ok(dest.into())
    }
}

/// Checks that a data set may be created at `dest`.
fn free(dest: &Path) -> Result<(), Error> {
    let taken = |why: &str| Err(Error::Destination { path: dest.into(), why: why.into() });
    if dest.join(DESCRIPTION).exists() {
        return taken("there is a data set already; remove it, or choose another destination");
    }
    match std::fs::read_dir(dest).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => taken("a folder with files in it; choose an empty or new destination"),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            taken("a file; choose an empty or new folder as destination")
        }
        Err(e) => Err(Error::io(dest, "list")(e)),
    }
}

/// A picture that is ready to be written.
#[derive(Debug)]
pub(super) struct Stored {
    label: u32,
    /// Pixels, `[side, side, 3]`.
    pixels: Vec<u8>,
    /// JPEG file; empty where the pixels themselves are stored.
    jpeg: Vec<u8>,
}

impl Stored {
    pub(super) fn new(
        label: u32,
        pixels: Vec<u8>,
        side: usize,
        raw: bool,
        quality: u8,
    ) -> Result<Self, String> {
        let mut jpeg = Vec::new();
        if !raw {
            let mut encoder = Encoder::new(&mut jpeg, quality);
            // Half the color resolution, as nearly all photos have it already.
            encoder.set_sampling_factor(SamplingFactor::F_2_2);
            let side = side as u16; // `Options` allows at most 2048
            encoder.encode(&pixels, side, side, ColorType::Rgb).map_err(|e| e.to_string())?;
        }
        Ok(Self { label, pixels, jpeg })
    }
}

/// Writes the shards of one split.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    folder: &'a Folder,
    split: Split,
    encoding: PictureEncoding,
    side: usize,
    limit: u64,
    shard: Option<Shard>,
    shards: Vec<FileDigest>,
    records: Vec<Record>,
    sums: PixelSums,
}

/// The files of a split, all written.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) index: FileDigest,
    pub(super) shards: Vec<FileDigest>,
    pub(super) sums: PixelSums,
    records: Vec<Record>,
}

impl Finished {
    pub(super) fn n_images(&self) -> u64 {
        self.records.len() as u64
    }

    pub(super) fn n_of(&self, label: u32) -> u64 {
        self.records.iter().filter(|record| record.label == label).count() as u64
    }
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        folder: &'a Folder,
        split: Split,
        side: usize,
        encoding: PictureEncoding,
        limit: u64,
    ) -> Self {
        let (shards, records, sums) = (Vec::new(), Vec::new(), PixelSums::new(side));
        Self { folder, split, encoding, side, limit, shard: None, shards, records, sums }
    }

    pub(super) fn write(&mut self, stored: &Stored) -> Result<(), Error> {
        let key = format!("{:08}", self.records.len());
        let label = stored.label.to_string();
        let header = format!("P6\n{} {}\n255\n", self.side, self.side).into_bytes();
        let (end, header, bytes) = match self.encoding {
            PictureEncoding::Jpeg => ("jpg", Vec::new(), &stored.jpeg),
            PictureEncoding::Raw => ("ppm", header, &stored.pixels),
        };
        let number = self.shards.len() as u32;
        let shard = self.open()?;
        let offset =
            shard.member(&format!("{key}.{end}"), &[&header, bytes])? + header.len() as u64;
        shard.member(&format!("{key}.cls"), &[label.as_bytes()])?;
        let full = shard.bytes >= self.limit;
        self.records.push(Record {
            shard: number,
            label: stored.label,
            offset,
            length: bytes.len() as u32,
            crc32: crc32fast::hash(bytes),
        });
        if self.split == Split::Train {
            self.sums.add(&stored.pixels);
        }
        if full { self.close() } else { Ok(()) }
    }

    fn open(&mut self) -> Result<&mut Shard, Error> {
        match &mut self.shard {
            Some(shard) => Ok(shard),
            none => {
                let name = format!("{}-{:05}.tar", self.split.name(), self.shards.len());
                Ok(none.insert(Shard::create(self.folder.0.path(), name)?))
            }
        }
    }

    fn close(&mut self) -> Result<(), Error> {
        if let Some(shard) = self.shard.take() {
            self.shards.push(shard.close()?);
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Finished, Error> {
        self.close()?;
        let name = format!("{}.index", self.split.name());
        let index = self.folder.write(&name, &index_bytes(&self.records))?;
        let Self { shards, records, sums, .. } = self;
        Ok(Finished { index, shards, sums, records })
    }
}

/// A tar file being written, with its digest so far.
#[derive(Debug)]
struct Shard {
    path: PathBuf,
    name: String,
    file: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
}

impl Shard {
    fn create(folder: &Path, name: String) -> Result<Self, Error> {
        let path = folder.join(&name);
        let file = File::create(&path).map_err(Error::io(&path, "create"))?;
        let file = BufWriter::with_capacity(1 << 20, file);
        Ok(Self { path, name, file, hash: Sha256::new(), bytes: 0 })
    }

    /// Appends a file and returns the position of its contents.
    fn member(&mut self, name: &str, parts: &[&[u8]]) -> Result<u64, Error> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let mut header = tar::Header::new_ustar();
        header.set_path(name).map_err(Error::io(&self.path, "name a file in"))?;
        header.set_size(length as u64);
        header.set_mode(0o644);
        // No time, no owner: the same pictures make the same bytes.
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        self.append(header.as_bytes())?;
        let offset = self.bytes;
        parts.iter().try_for_each(|part| self.append(part))?;
        self.append(&[0; 512][..length.next_multiple_of(512) - length])?;
        Ok(offset)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(Error::io(&self.path, "write"))
    }

    fn close(mut self) -> Result<FileDigest, Error> {
        self.append(&[0; 1024])?; // the end of a tar
        let Self { path, name, mut file, hash, bytes } = self;
        let written = file.flush().and_then(|()| file.get_ref().sync_all());
        written.map_err(Error::io(&path, "write"))?;
        Ok(FileDigest { file: name, bytes, sha256: hex(&hash.finalize()) })
    }
}
