//! Files that are whole or absent, and the digests of their bytes.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

pub(crate) use proto::digest::{hex, sha256};

use crate::error::Error;

/// Writes a file so that a crash leaves the old one or the new one, never a mixture.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let beside = path.with_added_extension("tmp");
    let write = || {
        let mut file = File::create(&beside).map_err(Error::io("create", &beside))?;
        file.write_all(bytes).map_err(Error::io("write", &beside))?;
        file.sync_all().map_err(Error::io("sync", &beside))?;
        drop(file);
        fs::rename(&beside, path).map_err(Error::io("write", path))?;
        sync_folder(path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}

/// Makes a rename in the folder of `path` survive a power cut.
pub(crate) fn sync_folder(path: &Path) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|f| f.sync_all()).map_err(Error::io("sync", folder))
}
