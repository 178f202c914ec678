//! A bounded number of open files, for sources and data sets with more files than a process may
//! have open.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Files that are open now, the most recently used one last.
#[derive(Debug)]
pub(crate) struct FilePool<K> {
    most: usize,
    open: Mutex<VecDeque<(K, Arc<File>)>>,
}

/// The pool that all archives share. Far fewer than the usual limit of 1,024 files.
pub(crate) static ARCHIVES: FilePool<PathBuf> = FilePool::new(32);

impl<K: Clone + PartialEq> FilePool<K> {
    /// A pool that keeps up to `most` files open.
    pub(crate) const fn new(most: usize) -> Self {
        Self { most, open: Mutex::new(VecDeque::new()) }
    }

    /// Returns the file that `key` names, opened by `open_file` unless it is open already; closes
    /// the one not used for longest.
    ///
    /// A file that somebody still reads stays open until they drop it.
    pub(crate) fn get<E>(
        &self,
        key: &K,
        open_file: impl FnOnce() -> Result<File, E>,
    ) -> Result<Arc<File>, E> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let found = open.iter().rposition(|(known, _)| known == key);
        let entry = match found.and_then(|at| open.remove(at)) {
            Some(entry) => entry,
            None => (key.clone(), Arc::new(open_file()?)),
        };
        let file = entry.1.clone();
        open.push_back(entry);
        if open.len() > self.most {
            open.pop_front();
        }
        Ok(file)
    }

    /// Number of files that are open.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).len()
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
                let file = pool.get(path, || File::open(path)).unwrap();
                std::os::unix::fs::FileExt::read_exact_at(&*file, &mut byte, 0).unwrap();
                assert_eq!(usize::from(byte[0]), i, "round {round}");
            }
            assert_eq!(pool.len(), 3);
        }
        let again = pool.get(&paths[9], || File::open(&paths[9])).unwrap();
        let closed = || Err(std::io::Error::other("it is open already"));
        assert!(Arc::ptr_eq(&again, &pool.get(&paths[9], closed).unwrap()));
        let none = folder.path().join("none");
        assert!(pool.get(&none, || File::open(&none)).is_err());
    }
}
