//! Archives that hold many pictures, such as tar files, read at random.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::Error;

/// An open file that holds many pictures.
#[derive(Debug, Clone)]
pub(super) struct Archive {
    /// File name, without folders.
    pub(super) name: String,
    /// Length in bytes.
    pub(super) bytes: u64,
    file: Arc<File>,
}

/// A file inside a tar.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    /// Position of the contents, from the beginning of the archive.
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl Archive {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::io(path, "open"))?;
        let bytes = file.metadata().map_err(Error::io(path, "read"))?.len();
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { name, bytes, file: file.into() })
    }

    pub(super) fn read(&self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        // Checked before memory is taken: a damaged header may claim anything.
        if offset.checked_add(length).is_none_or(|end| end > self.bytes) {
            let why = format!("{length} bytes at {offset}, the archive ends at {}", self.bytes);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        }
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// Lists the files of the tar that is this whole archive.
    pub(super) fn members(&self) -> (Vec<Member>, Option<String>) {
        self.members_in(0, self.bytes)
    }

    /// Lists the files of the tar at `start`, without reading their contents; also says what is
    /// wrong if the tar can't be read to its end.
    pub(super) fn members_in(&self, start: u64, length: u64) -> (Vec<Member>, Option<String>) {
        let mut members = Vec::new();
        let end = (start + length).min(self.bytes);
        let section = Section { file: &self.file, start, end, at: start };
        let wrong = list(section, start, &mut members).err().map(|e| e.to_string());
        (members, wrong)
    }
}

fn list(section: Section<'_>, start: u64, members: &mut Vec<Member>) -> io::Result<()> {
    let mut tar = tar::Archive::new(section);
    for entry in tar.entries_with_seek()? {
        let entry = entry?;
        if entry.header().entry_type().is_file() {
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let name = name.trim_start_matches("./").to_string();
            let offset = start + entry.raw_file_position();
            members.push(Member { name, offset, length: entry.size() });
        }
    }
    Ok(())
}

/// A range of a file, readable like a file.
struct Section<'a> {
    file: &'a File,
    start: u64,
    end: u64,
    at: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.end.saturating_sub(self.at).min(buffer.len() as u64) as usize;
        let n = self.file.read_at(&mut buffer[..left], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for Section<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, by) = match to {
            SeekFrom::Start(by) => (self.start, i64::try_from(by).unwrap_or(i64::MAX)),
            SeekFrom::Current(by) => (self.at, by),
            SeekFrom::End(by) => (self.end, by),
        };
        let at = base.checked_add_signed(by).filter(|at| *at >= self.start);
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at - self.start)
    }
}
