//! The pictures of a data set as they are stored, and the tar shards that hold them, which any
//! WebDataset reader can read.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use proto::digest::hex;
use sha2::{Digest, Sha256};

use crate::Error;
use crate::dataset::{FileDigest, PictureEncoding};

/// A picture that is ready to be written.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) label: u32,
    /// A JPEG file, or the pixels themselves.
    pub(super) bytes: Vec<u8>,
    /// Pixels as training sees them, `[side, side, 3]`, where they aren't the bytes and are needed.
    decoded: Option<Vec<u8>>,
}

impl Stored {
    /// Encodes pixels `[side, side, 3]`.
    pub(super) fn encode(
        label: u32,
        pixels: Vec<u8>,
        side: usize,
        encoding: PictureEncoding,
        quality: u8,
    ) -> Result<Self, String> {
        if encoding == PictureEncoding::Raw {
            return Ok(Self::known(label, pixels));
        }
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, quality);
        // Half the color resolution, as nearly all photos have it already.
        encoder.set_sampling_factor(SamplingFactor::F_2_2);
        let side = side as u16; // `Options` allows at most 2048
        encoder.encode(&pixels, side, side, ColorType::Rgb).map_err(|e| e.to_string())?;
        Ok(Self::known(label, bytes))
    }

    /// A JPEG file of the source that has exactly these pixels already. Gives the pixels back
    /// for any other file.
    ///
    /// Files that are larger than their pixels hold more than a picture.
    pub(super) fn kept(label: u32, file: Vec<u8>, pixels: Vec<u8>) -> Result<Self, Vec<u8>> {
        match file.len() < pixels.len() && picture::is_jpeg_of(&file, &pixels) {
            true => Ok(Self { label, bytes: file, decoded: Some(pixels) }),
            false => Err(pixels),
        }
    }

    /// A picture from the bytes that are stored of it.
    pub(super) fn known(label: u32, bytes: Vec<u8>) -> Self {
        Self { label, bytes, decoded: None }
    }

    /// Decodes a JPEG as training does, for the sums over its pixels.
    pub(super) fn decode(mut self, side: usize, encoding: PictureEncoding) -> Result<Self, String> {
        let jpeg = encoding.of_record(self.bytes.len(), side) == PictureEncoding::Jpeg;
        if jpeg && self.decoded.is_none() {
            let mut pixels = vec![0; 3 * side * side];
            picture::stored_jpeg(&self.bytes, &mut pixels)?;
            self.decoded = Some(pixels);
        }
        Ok(self)
    }

    /// Pixels as training sees them, once they are decoded.
    pub(super) fn pixels(&self) -> &[u8] {
        self.decoded.as_deref().unwrap_or(&self.bytes)
    }
}

/// A tar file being written, with its digest so far.
#[derive(Debug)]
pub(super) struct Shard {
    path: PathBuf,
    name: String,
    file: BufWriter<File>,
    hash: Sha256,
    /// Length so far.
    pub(super) bytes: u64,
}

impl Shard {
    pub(super) fn create(folder: &Path, name: String) -> Result<Self, Error> {
        let path = folder.join(&name);
        let file = File::create(&path).map_err(Error::io(&path, "create"))?;
        let file = BufWriter::with_capacity(1 << 20, file);
        Ok(Self { path, name, file, hash: Sha256::new(), bytes: 0 })
    }

    /// Appends a file and returns the position of its contents.
    pub(super) fn member(&mut self, name: &str, parts: &[&[u8]]) -> Result<u64, Error> {
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

    pub(super) fn close(mut self) -> Result<FileDigest, Error> {
        self.append(&[0; 1024])?; // the end of a tar
        let Self { path, name, mut file, hash, bytes } = self;
        let written = file.flush().and_then(|()| file.get_ref().sync_all());
        written.map_err(Error::io(&path, "write"))?;
        Ok(FileDigest { file: name, bytes, sha256: hex(&hash.finalize()) })
    }
}
