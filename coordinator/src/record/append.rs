//! Append-only files. A full disk doesn't stop training: records wait in memory and are written
//! when there is room again.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Most bytes that wait for room on the disk; further records are lost, and an error says so.
const PENDING_LIMIT: usize = 4 << 20;

/// A file that grows by whole records.
#[derive(Debug)]
pub(crate) struct AppendFile {
    path: PathBuf,
    /// `None` until the first record can be written.
    file: Option<File>,
    /// Bytes of whole records in the file.
    len: u64,
    pending: Vec<u8>,
    /// Bytes that close the file: written after every record, and overwritten by the next one.
    closing: &'static str,
    /// The last attempt to write failed, and an error said so.
    stuck: bool,
}

impl AppendFile {
    /// Opens or creates a file and cuts it to `bytes`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn open(path: &Path, bytes: u64) -> Result<Self, Error> {
        let mut new = Self::lazy(path, 0);
        new.file = Some(create(path).map_err(Error::io("open", path))?);
        new.cut(bytes)?;
        Ok(new)
    }

    /// A file that is opened by its first record: created together with its folder, or cut to
    /// `bytes` if it exists.
    pub(crate) fn lazy(path: &Path, bytes: u64) -> Self {
        Self {
            path: path.to_path_buf(),
            file: None,
            len: bytes,
            pending: Vec::new(),
            closing: "",
            stuck: false,
        }
    }

    /// The same file, always ended by `closing`.
    pub(crate) fn closed_by(self, closing: &'static str) -> Self {
        Self { closing, ..self }
    }

    /// Cuts the file back to `bytes`; records that wait are dropped.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn cut(&mut self, bytes: u64) -> Result<(), Error> {
        self.pending.clear();
        let Some(file) = &self.file else { return Ok(()) };
        let have = file.metadata().map_err(Error::io("cut back", &self.path))?.len();
        if have < bytes {
            let path = self.path.display();
            tracing::warn!(%path, have, expected = bytes, "lines are missing");
        }
        self.len = bytes.min(have);
        file.set_len(self.len).map_err(Error::io("cut back", &self.path))
    }

    /// Appends a record.
    pub(crate) fn append(&mut self, record: &[u8]) {
        if self.pending.len() + record.len() > PENDING_LIMIT {
            let path = self.path.display();
            tracing::error!(%path, "a record is lost, the disk is still full");
            return;
        }
        self.pending.extend(record);
        self.flush();
    }

    fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        match self.write() {
            Ok(()) => {
                self.len += self.pending.len() as u64;
                self.pending.clear();
                self.stuck = false;
            }
            Err(error) => {
                self.take_back();
                if !self.stuck {
                    tracing::error!(path = %self.path.display(), %error,
                        "records can't be written, they wait in memory");
                }
                self.stuck = true;
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let file = create(&self.path)?;
                file.set_len(self.len)?;
                none.insert(file)
            }
        };
        file.seek(SeekFrom::Start(self.len))?;
        file.write_all(&self.pending)?;
        file.write_all(self.closing.as_bytes())
    }

    /// Removes half a record, which is worse than none; this shortens the file, so it needs no
    /// room.
    fn take_back(&mut self) {
        let Some(file) = &mut self.file else { return };
        let _ = file.set_len(self.len);
        if self.len > 0 {
            let end = file.seek(SeekFrom::Start(self.len));
            let _ = end.and_then(|_| file.write_all(self.closing.as_bytes()));
        }
    }

    /// Length of the file once all records are written.
    pub(crate) fn length(&self) -> u64 {
        self.len + self.pending.len() as u64
    }

    /// Makes sure that every record is on the disk; returns the length of the file.
    ///
    /// # Errors
    /// [`Error::Io`] if some record isn't.
    pub(crate) fn sync(&mut self) -> Result<u64, Error> {
        self.flush();
        if !self.pending.is_empty() {
            let full = io::Error::from(io::ErrorKind::StorageFull);
            return Err(Error::io("write", &self.path)(full));
        }
        if let Some(file) = &self.file {
            file.sync_data().map_err(Error::io("sync", &self.path))?;
        }
        Ok(self.len)
    }
}

/// Bytes of the whole lines in a file: a crash may have cut off the last one. 0 without a file.
pub(crate) fn whole_lines(path: &Path) -> io::Result<u64> {
    match fs::read(path) {
        Ok(text) => Ok(text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at as u64 + 1)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

fn create(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    File::options().create(true).truncate(false).write(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_keeps_records_in_memory_and_says_so_at_the_checkpoint() {
        let mut file = AppendFile::lazy(Path::new("/dev/full"), 0);
        file.append(b"one");
        file.append(b"two");
        assert!(file.stuck && file.pending == b"onetwo");
        assert!(file.sync().unwrap_err().to_string().contains("/dev/full"));
    }

    #[test]
    fn waiting_records_are_written_once_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        // A file where the folder should be: nothing can be created below it.
        let (folder, path) = (dir.path().join("folder"), dir.path().join("folder/file"));
        fs::write(&folder, "in the way").unwrap();
        let mut file = AppendFile::lazy(&path, 0);
        file.append(b"one ");
        assert!(file.stuck && file.sync().is_err());
        fs::remove_file(&folder).unwrap();
        file.append(b"two");
        assert_eq!((file.sync().unwrap(), file.stuck), (7, false));
        assert_eq!(fs::read(&path).unwrap(), b"one two");
    }

    #[test]
    fn a_closed_file_is_whole_after_every_record_and_after_a_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "[1, 2, 3, and half a num").unwrap();
        let mut file = AppendFile::lazy(&path, 8).closed_by("]");
        file.append(b", 4");
        assert_eq!(fs::read_to_string(&path).unwrap(), "[1, 2, 3, 4]");
        file.append(b", 5");
        assert_eq!(fs::read_to_string(&path).unwrap(), "[1, 2, 3, 4, 5]");
    }

    #[test]
    fn half_a_line_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        assert_eq!(whole_lines(&path).unwrap(), 0);
        fs::write(&path, "one\ntwo\nthr").unwrap();
        assert_eq!(whole_lines(&path).unwrap(), 8);
    }
}
