//! Files that are whole or absent, and the digests of their bytes.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

pub(crate) use proto::digest::{hex, sha256};

use crate::error::Error;

/// Returns whether something is there. Only "not found" counts as absent: what can't be looked at
/// may be there.
pub(crate) fn is_there(path: &Path) -> Result<bool, Error> {
    path.try_exists().map_err(Error::io("look for", path))
}

/// Writes a file so that a crash leaves the old one or the new one, never a mixture.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_beside(path, bytes, |beside| fs::rename(beside, path))
}

/// Writes a file that must not be there yet, whole or not at all.
///
/// # Errors
/// [`Error::Io`], also if there is anything of this name.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_beside(path, bytes, |beside| match fs::hard_link(beside, path) {
        // File systems without links. Another coordinator can't come between: there is a lock.
        Err(e) if matches!(e.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) => {
            match fs::symlink_metadata(path) {
                Err(absent) if absent.kind() == ErrorKind::NotFound => fs::rename(beside, path),
                Err(unknown) => Err(unknown),
                Ok(_) => Err(ErrorKind::AlreadyExists.into()),
            }
        }
        linked => linked,
    })
}

/// Writes a temporary file, which `publish` gives its name.
fn write_beside(
    path: &Path,
    bytes: &[u8],
    publish: impl Fn(&Path) -> std::io::Result<()>,
) -> Result<(), Error> {
    let beside = path.with_added_extension("tmp");
    let write = || {
        let mut file = File::create(&beside).map_err(Error::io("create", &beside))?;
        file.write_all(bytes).map_err(Error::io("write", &beside))?;
        file.sync_all().map_err(Error::io("sync", &beside))?;
        drop(file);
        publish(&beside).map_err(Error::io("write", path))?;
        sync_folder(path)
    };
    let written = write();
    // Gone already if it was renamed.
    let _ = fs::remove_file(&beside);
    written
}

/// Creates a folder and those above it so that they survive a power cut.
pub(crate) fn create_folders(path: &Path) -> Result<(), Error> {
    let create = || match fs::create_dir(path) {
        // A link to a folder is one.
        Err(e) if e.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(false),
        created => created.map(|()| true),
    };
    let created = match (create(), path.parent()) {
        (Err(e), Some(parent)) if e.kind() == ErrorKind::NotFound && parent != Path::new("") => {
            create_folders(parent)?;
            create()
        }
        (created, _) => created,
    };
    match created.map_err(Error::io("create", path))? {
        true => sync_folder(path),
        false => Ok(()),
    }
}

/// Renames something to its name with `.before` added, or `.before-2` and so on, whatever is free;
/// returns the new path. Nothing happens if it isn't there.
pub(crate) fn set_aside(path: &Path) -> Result<Option<PathBuf>, Error> {
    // A link to nothing is there, too.
    let is_there = |path: &Path| match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("look for", path)(e)),
    };
    if !is_there(path)? {
        return Ok(None);
    }
    let mut to = path.with_added_extension("before");
    let mut n = 1;
    while is_there(&to)? {
        n += 1;
        to = path.with_added_extension(format!("before-{n}"));
    }
    fs::rename(path, &to).map_err(Error::io("rename", path))?;
    sync_folder(&to)?;
    Ok(Some(to))
}

/// Makes a rename in the folder of `path` survive a power cut.
pub(crate) fn sync_folder(path: &Path) -> Result<(), Error> {
    let folder = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    File::open(folder).and_then(|f| f.sync_all()).map_err(Error::io("sync", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_takes_no_others_place_not_even_that_of_a_link_to_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (there, link) = (dir.path().join("there"), dir.path().join("link"));
        fs::write(&there, "old").unwrap();
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        for path in [&there, &link] {
            let said = write_new(path, b"new").unwrap_err().to_string();
            assert!(said.contains("File exists"), "{said}");
        }
        assert_eq!(fs::read(&there).unwrap(), b"old");
        write_new(&dir.path().join("new"), b"new").unwrap();
        let names = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(names, 3, "no temporary file stays");
    }

    #[test]
    fn what_is_set_aside_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert_eq!(set_aside(&path).unwrap(), None);
        for (text, name) in [("1", "file.before"), ("2", "file.before-2")] {
            fs::write(&path, text).unwrap();
            let aside = set_aside(&path).unwrap().unwrap();
            assert!(aside.ends_with(name) && !path.exists(), "{}", aside.display());
            assert_eq!(fs::read_to_string(aside).unwrap(), text);
        }
    }
}
