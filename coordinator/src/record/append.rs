//! Append-only files. A full disk doesn't stop training: records wait in memory and are written
//! when there is room again.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Most bytes that wait for room on the disk; further records are lost, and an error says so.
const PENDING_LIMIT: usize = 4 << 20;
/// Bytes that [`whole_lines`] reads at once.
const BLOCK: usize = 64 << 10;

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
    /// The file may be longer than `len`, and has to be cut before anything is written.
    uncut: bool,
    /// Error of the last attempt to write, which the log has; `None` if it succeeded.
    stuck: Option<io::Error>,
}

/// An open file whose bytes may not be on the disk yet.
#[derive(Debug)]
pub(crate) struct Unsynced {
    path: PathBuf,
    file: File,
}

impl Unsynced {
    /// Makes sure that the bytes are on the disk; blocks.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.file.sync_data().map_err(Error::io("sync", &self.path))
    }
}

impl AppendFile {
    /// Opens or creates a file. Records come after its present end, unless it is cut before.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let file = create(path).map_err(Error::io("open", path))?;
        let len = file.metadata().map_err(Error::io("read", path))?.len();
        Ok(Self { file: Some(file), uncut: false, ..Self::lazy(path, len) })
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
            uncut: true,
            stuck: None,
        }
    }

    /// The same file, always ended by `closing`.
    pub(crate) fn closed_by(self, closing: &'static str) -> Self {
        Self { closing, ..self }
    }

    /// Cuts the file back to `bytes`; records that wait are dropped. If the disk refuses, the next
    /// record tries again, and until then nothing counts as written.
    pub(crate) fn cut(&mut self, bytes: u64) {
        self.pending.clear();
        (self.len, self.uncut) = (bytes, true);
        self.flush();
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
        if self.pending.is_empty() && !self.uncut {
            return;
        }
        match self.write() {
            Ok(()) => {
                self.len += self.pending.len() as u64;
                self.pending.clear();
                self.stuck = None;
            }
            Err(error) => {
                self.take_back();
                if self.stuck.is_none() {
                    tracing::error!(path = %self.path.display(), %error,
                        "records can't be written, they wait in memory");
                }
                self.stuck = Some(error);
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(create(&self.path)?),
        };
        if self.uncut {
            let have = file.metadata()?.len();
            if have < self.len {
                let path = self.path.display();
                tracing::warn!(%path, have, expected = self.len, "lines are missing");
                self.len = have;
            }
            file.set_len(self.len)?;
            self.uncut = false;
        }
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

    /// Continues in a new file; the present one gets the name `to`, in the place of an older one.
    ///
    /// # Errors
    /// [`Error::Io`]; the present file then stays in use.
    pub(crate) fn set_aside(&mut self, to: &Path) -> Result<(), Error> {
        fs::rename(&self.path, to).map_err(Error::io("rename", &self.path))?;
        (self.file, self.len) = (None, 0);
        Ok(())
    }

    /// Length of the file once all records are written.
    pub(crate) fn length(&self) -> u64 {
        self.len + self.pending.len() as u64
    }

    /// Returns true if the memory for waiting records is nearly full.
    pub(crate) fn is_crowded(&self) -> bool {
        self.pending.len() > PENDING_LIMIT / 2
    }

    /// Writes every record; returns the file, to be synced. `None` if there were no records.
    ///
    /// # Errors
    /// [`Error::Io`] if some record can't be written.
    pub(crate) fn written(&mut self) -> Result<Option<Unsynced>, Error> {
        if self.file.is_some() || !self.pending.is_empty() {
            self.flush();
        }
        let Some(file) = self.file.as_ref().filter(|_| self.stuck.is_none()) else {
            // Taken out, so that the next attempt reports its own.
            let Some(error) = self.stuck.take() else { return Ok(None) };
            return Err(Error::io("write", &self.path)(error));
        };
        let file = file.try_clone().map_err(Error::io("sync", &self.path))?;
        Ok(Some(Unsynced { path: self.path.clone(), file }))
    }

    /// Makes sure that every record is on the disk; returns the length of the file.
    #[cfg(test)]
    pub(crate) fn sync(&mut self) -> Result<u64, Error> {
        self.written()?.map_or(Ok(()), |file| file.sync())?;
        Ok(self.len)
    }
}

/// Bytes of the whole lines in a file: a crash may have cut off the last one. 0 without a file.
///
/// Reads the end of the file only, since the file may be large.
pub(crate) fn whole_lines(path: &Path) -> io::Result<u64> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut end = file.metadata()?.len();
    let mut block = vec![0; BLOCK];
    while end > 0 {
        let from = end.saturating_sub(BLOCK as u64);
        let block = &mut block[..(end - from) as usize];
        file.read_exact_at(block, from)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(from + at as u64 + 1);
        }
        end = from;
    }
    Ok(0)
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
        assert!(file.stuck.is_some() && file.pending == b"onetwo");
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
        assert!(file.stuck.is_some() && file.sync().is_err());
        fs::remove_file(&folder).unwrap();
        file.append(b"two");
        assert_eq!((file.sync().unwrap(), file.stuck.is_none()), (7, true));
        assert_eq!(fs::read(&path).unwrap(), b"one two");
    }

    #[test]
    fn a_cut_that_fails_is_made_up_for_before_anything_counts_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "one two ").unwrap();
        let mut file = AppendFile::open(&path).unwrap();
        assert_eq!((file.length(), fs::read(&path).unwrap()), (8, b"one two ".to_vec()));
        let writable = file.file.replace(File::open(&path).unwrap());
        file.cut(4);
        file.append(b"three");
        assert!(file.sync().is_err() && fs::read(&path).unwrap() == b"one two ");
        file.file = writable;
        assert_eq!((file.sync().unwrap(), fs::read(&path).unwrap()), (9, b"one three".to_vec()));
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
        fs::write(&path, "one\ntwo\n".to_owned() + &"x".repeat(3 * BLOCK)).unwrap();
        assert_eq!(whole_lines(&path).unwrap(), 8, "the end is several blocks long");
        fs::write(&path, "x".repeat(2 * BLOCK)).unwrap();
        assert_eq!(whole_lines(&path).unwrap(), 0);
    }
}
