//! A bounded number of open files, for sources and data sets with more files than a process may
//! have open.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Files that are open now, the most recently used one last.
#[derive(Debug)]
pub(crate) struct FilePool {
    most: usize,
    open: Mutex<VecDeque<(PathBuf, Arc<File>)>>,
}

/// The pool that all archives share. Far fewer than the usual limit of 1,024 files.
pub(crate) static ARCHIVES: FilePool = FilePool::new(32);

impl FilePool {
    /// A pool that keeps up to `most` files open.
    pub(crate) const fn new(most: usize) -> Self {
        Self { most, open: Mutex::new(VecDeque::new()) }
    }

    /// Opens a file for reading, unless it is open already; closes the one not used for longest.
    ///
    /// A file that somebody still reads stays open until they drop it.
    pub(crate) fn get(&self, path: &Path) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let found = open.iter().rposition(|(known, _)| known == path);
        let entry = match found.and_then(|at| open.remove(at)) {
            Some(entry) => entry,
            None => (path.to_owned(), Arc::new(File::open(path)?)),
        };
        let file = entry.1.clone();
        open.push_back(entry);
        if open.len() > self.most {
            open.pop_front();
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_keeps_no_more_files_open_than_it_may() {
        let folder = tempfile::tempdir().unwrap();
        let pool = FilePool::new(3);
        let paths: Vec<_> = (0..10).map(|i| folder.path().join(i.to_string())).collect();
        for (i, path) in paths.iter().enumerate() {
            std::fs::write(path, [i as u8]).unwrap();
        }
        for round in 0..3 {
            for (i, path) in paths.iter().enumerate() {
                let mut byte = [0];
                let file = pool.get(path).unwrap();
                std::os::unix::fs::FileExt::read_exact_at(&*file, &mut byte, 0).unwrap();
                assert_eq!(usize::from(byte[0]), i, "round {round}");
            }
            assert_eq!(pool.open.lock().unwrap().len(), 3);
        }
        let again = pool.get(&paths[9]).unwrap();
        assert!(Arc::ptr_eq(&again, &pool.get(&paths[9]).unwrap()));
        assert!(pool.get(&folder.path().join("none")).is_err());
    }
}
