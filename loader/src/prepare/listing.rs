//! Listings of folders, for every layout that has folders.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Error;

/// Files and folders that this process has listed.
static LISTED: AtomicU64 = AtomicU64::new(0);

/// Number of files and folders that this process has listed so far, for showing progress.
pub fn listed() -> u64 {
    LISTED.load(Ordering::Relaxed)
}

/// Counts files and folders that were listed elsewhere.
pub(super) fn count(n: u64) {
    LISTED.fetch_add(n, Ordering::Relaxed);
}

/// Names and paths of everything in a folder, sorted by name.
pub(super) fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder, "list"))? {
        let entry = entry.map_err(Error::io(folder, "list"))?;
        entries.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    count(entries.len() as u64);
    entries.sort();
    Ok(entries)
}
