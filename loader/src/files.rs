//! Files of one folder, opened when they are needed, few of them at a time: data sets have more
//! shards than some systems let a process open.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use crate::Error;
use crate::file_pool::FilePool;

/// Most files that stay open: a fraction of the 1,024 that a process may usually open.
const MOST_OPEN: usize = 128;

/// A folder whose files are opened when they are needed, even after it got another name.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    folder: File,
    open: FilePool<Key>,
}

/// A file of the folder: two numbers of the caller's choice.
type Key = (u32, u32);

impl Folder {
    /// Opens a folder.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let folder = File::open(path).map_err(Error::io(path, "open"))?;
        Ok(Self { path: path.into(), folder, open: FilePool::new(MOST_OPEN) })
    }

    /// Path of the folder when it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// An open file of this folder.
    pub(crate) fn file(&self, key: Key, name: &str) -> Result<Arc<File>, Error> {
        self.open.get(&key, || self.open_file(name))
    }

    /// Opens a file that isn't kept open.
    pub(crate) fn open_file(&self, name: &str) -> Result<File, Error> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.folder, name, flags, Mode::empty());
        let path = self.path.join(name);
        opened.map(File::from).map_err(|e| Error::io(&path, "open")(e.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn few_of_many_files_are_open_and_a_new_name_of_the_folder_does_not_matter() {
        let root = tempfile::tempdir().unwrap();
        let (old, new) = (root.path().join("old"), root.path().join("new"));
        std::fs::create_dir(&old).unwrap();
        for i in 0..1300_u32 {
            std::fs::write(old.join(i.to_string()), i.to_le_bytes()).unwrap();
        }
        let folder = Folder::open(&old).unwrap();
        std::fs::rename(&old, &new).unwrap();
        for i in (0..1300_u32).chain((0..1300).rev()) {
            let mut bytes = [0; 4];
            let file = folder.file((0, i), &i.to_string()).unwrap();
            file.read_exact_at(&mut bytes, 0).unwrap();
            assert_eq!(u32::from_le_bytes(bytes), i);
        }
        assert_eq!(folder.open.len(), MOST_OPEN);
        let error = folder.file((0, 9999), "9999").unwrap_err().to_string();
        assert!(error.contains("9999") && error.contains("open"), "{error}");
    }
}
