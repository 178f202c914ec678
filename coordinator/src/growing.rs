//! Files that grow by whole records. A full disk doesn't stop training: records wait in memory and
//! are written when there is room again.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Records that wait for room on the disk, in bytes; more are lost, and that is said.
const PENDING_LIMIT: usize = 4 << 20;

/// One such file.
#[derive(Debug)]
pub(crate) struct Growing {
    path: PathBuf,
    /// None until the first record can be written.
    file: Option<File>,
    /// Bytes of whole records in the file.
    len: u64,
    pending: Vec<u8>,
    /// The last try to write failed, and that was said.
    stuck: bool,
}

impl Growing {
    /// Opens or creates the file and cuts it to `bytes`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn open(path: &Path, bytes: u64) -> Result<Self, Error> {
        let mut growing = Self::later(path);
        growing.file = Some(create(path).map_err(Error::io("open", path))?);
        growing.cut(bytes)?;
        Ok(growing)
    }

    /// A file that is created, with its folder, by its first record.
    pub(crate) fn later(path: &Path) -> Self {
        Self { path: path.to_path_buf(), file: None, len: 0, pending: Vec::new(), stuck: false }
    }

    /// Cuts the file back to `bytes`; what waits is forgotten.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn cut(&mut self, bytes: u64) -> Result<(), Error> {
        self.pending.clear();
        let Some(file) = &self.file else { return Ok(()) };
        let have = file.metadata().map_err(Error::io("cut back", &self.path))?.len();
        if have < bytes {
            tracing::warn!(path = %self.path.display(), have, expected = bytes, "lines are missing");
        }
        self.len = bytes.min(have);
        file.set_len(self.len).map_err(Error::io("cut back", &self.path))
    }

    /// Appends a record.
    pub(crate) fn append(&mut self, record: &[u8]) {
        if self.pending.len() + record.len() > PENDING_LIMIT {
            tracing::error!(path = %self.path.display(), "a record is lost, the disk is still full");
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
                // Half a record is worse than none; this shortens, so it needs no room.
                let _ = self.file.as_ref().map(|file| file.set_len(self.len));
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
            none => none.insert(create(&self.path)?),
        };
        file.seek(SeekFrom::Start(self.len))?;
        file.write_all(&self.pending)
    }

    /// Its length once what waits is written.
    pub(crate) fn length(&self) -> u64 {
        self.len + self.pending.len() as u64
    }

    /// Makes sure that every record is on the disk; the file's length then.
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
        let mut growing = Growing::later(Path::new("/dev/full"));
        growing.append(b"one");
        growing.append(b"two");
        assert!(growing.stuck && growing.pending == b"onetwo");
        assert!(growing.sync().unwrap_err().to_string().contains("/dev/full"));
    }

    #[test]
    fn what_waited_is_written_once_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        // A file where the folder should be: nothing can be created below it.
        let (folder, path) = (dir.path().join("folder"), dir.path().join("folder/file"));
        fs::write(&folder, "in the way").unwrap();
        let mut growing = Growing::later(&path);
        growing.append(b"one ");
        assert!(growing.stuck && growing.sync().is_err());
        fs::remove_file(&folder).unwrap();
        growing.append(b"two");
        assert_eq!((growing.sync().unwrap(), growing.stuck), (7, false));
        assert_eq!(fs::read(&path).unwrap(), b"one two");
    }
}
