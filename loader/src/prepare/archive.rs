//! Files that hold many pictures, such as tars, read at random.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Error;
use crate::file_pool::ARCHIVES;

/// A file that holds many pictures.
#[derive(Debug, Clone)]
pub(super) struct Archive {
    /// File name, with the folders below the source.
    pub(super) name: String,
    /// Length in bytes.
    pub(super) bytes: u64,
    contents: Contents,
}

#[derive(Debug, Clone)]
enum Contents {
    File(PathBuf),
    /// Pictures that had to be put in order in memory.
    Memory(Arc<[u8]>),
}

impl Archive {
    /// Looks at a file, which is opened whenever something is read.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let metadata = std::fs::metadata(path).map_err(Error::io(path, "open"))?;
        open(path).map_err(Error::io(path, "open"))?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { name, bytes: metadata.len(), contents: Contents::File(path.into()) })
    }

    /// As [`Archive::open`], with a name that tells two archives of one source apart.
    pub(super) fn open_below(root: &Path, path: &Path) -> Result<Self, Error> {
        let mut archive = Self::open(path)?;
        if let Ok(below) = path.strip_prefix(root)
            && below != Path::new("")
        {
            archive.name = below.to_string_lossy().into_owned();
        }
        Ok(archive)
    }

    /// An archive whose bytes are in memory.
    pub(super) fn in_memory(name: String, bytes: Vec<u8>) -> Self {
        Self { name, bytes: bytes.len() as u64, contents: Contents::Memory(bytes.into()) }
    }

    pub(super) fn read(&self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        // Checked before memory is taken: a damaged header may claim anything.
        if offset.checked_add(length).is_none_or(|end| end > self.bytes) {
            let why = format!("{length} bytes at {offset}, the archive ends at {}", self.bytes);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        }
        let mut bytes = vec![0; length as usize];
        self.read_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// Fills `buffer` with the bytes at `offset`.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match &self.contents {
            Contents::File(path) => open(path)?.read_exact_at(buffer, offset),
            Contents::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let part = bytes.get(start..).and_then(|rest| rest.get(..buffer.len()));
                buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}

/// The file at `path`, opened unless it is open already.
fn open(path: &Path) -> io::Result<Arc<File>> {
    ARCHIVES.get(&path.to_path_buf(), || File::open(path))
}
