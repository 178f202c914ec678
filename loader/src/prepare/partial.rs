//! The folder in which a data set is written: `.NAME.partial` beside the destination NAME. It gets
//! its name when it is complete. Until then an interrupted preparation can be resumed in it.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use proto::digest::sha256;

use super::Watch;
use crate::Error;
use crate::dataset::{DESCRIPTION, FileDigest, SUMS, Summary, is_prepared, read_summary};

/// File that says which pictures and options the folder is for: a digest, and in a second line the
/// format of the folder's files.
const KEY: &str = "preparation.key";
/// Format of the notes and sums in the folder; without the second line it is 1.
const FORMAT: u32 = 2;
/// Longest name, in bytes, that leaves room for what is added to it.
const LONGEST: usize = 200;

/// The folder being written, locked against other preparations of the same destination.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    dest: PathBuf,
    /// The lock; it ends with this value, or with the process.
    _lock: File,
}

/// A data set that has its name.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) path: PathBuf,
    /// The data set that was at the destination before, under its new name.
    pub(super) before: Option<PathBuf>,
}

impl Partial {
    /// Opens or creates the folder for a destination. The destination must be free; if `replace`,
    /// it may be a data set.
    pub(super) fn open(dest: &Path, replace: bool, watch: &dyn Watch) -> Result<Self, Error> {
        free(dest, replace)?;
        let parent = match dest.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(parent).map_err(Error::io(parent, "create"))?;
        let name = partial_name(dest);
        remove_old_litter(parent, &name, watch);
        let path = parent.join(&name);
        let lock = lock(&path)?;
        Ok(Self { path, dest: dest.into(), _lock: lock })
    }

    /// Decides whether the contents belong to the preparation that is called `key`, and removes
    /// them if not.
    pub(super) fn begin(&self, key: &str, watch: &dyn Watch) -> Result<(), Error> {
        if let Some(known) = self.read(KEY)? {
            let known = String::from_utf8_lossy(&known);
            let mut lines = known.lines();
            let (digest, format) = (lines.next(), lines.next());
            let format = format.and_then(|line| line.strip_prefix("format ")?.parse::<u32>().ok());
            if let Some(got) = format.filter(|format| *format > FORMAT) {
                return Err(Error::Format { path: self.path.join(KEY), got, want: FORMAT });
            }
            if digest == Some(key) {
                return Ok(());
            }
        }
        let entries = self.entries()?;
        if !entries.is_empty() {
            watch.say(&format!(
                "removing {}: an interrupted preparation of other pictures, or with other options",
                self.path.display()
            ));
        }
        entries.iter().try_for_each(|path| remove(path))?;
        self.write_durably(KEY, format!("{key}\nformat {FORMAT}\n").as_bytes())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn entries(&self) -> Result<Vec<PathBuf>, Error> {
        let list = || -> io::Result<Vec<PathBuf>> {
            fs::read_dir(&self.path)?.map(|entry| Ok(entry?.path())).collect()
        };
        list().map_err(Error::io(&self.path, "list"))
    }

    /// Reads a file of the folder; `None` if there is none.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(&path, "read")(e)),
        }
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<FileDigest, Error> {
        let path = self.path.join(name);
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        written.map_err(Error::io(&path, "write"))?;
        Ok(FileDigest { file: name.into(), bytes: bytes.len() as u64, sha256: sha256(bytes) })
    }

    /// Writes a file so that it is there whole or not at all, even after a power failure.
    pub(super) fn write_durably(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let temporary = format!("{name}.new");
        self.write(&temporary, bytes)?;
        let renamed = fs::rename(self.path.join(temporary), self.path.join(name))
            .and_then(|()| File::open(&self.path)?.sync_all());
        renamed.map_err(Error::io(&self.path.join(name), "write"))
    }

    /// Removes a file of the folder if it is there.
    pub(super) fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.path.join(name));
    }

    /// The description of the data set, if all of it is written and only its name is missing.
    pub(super) fn complete(&self) -> Option<Summary> {
        if !self.path.join(SUMS).is_file() {
            return None;
        }
        let (summary, _) = read_summary(&self.path).ok()?;
        let is_there = |file: &FileDigest| {
            fs::metadata(self.path.join(&file.file)).is_ok_and(|found| found.len() == file.bytes)
        };
        let all = summary.files().all(is_there);
        all.then_some(summary)
    }

    /// Removes the folder with all its contents.
    pub(super) fn abandon(self) {
        let _ = fs::remove_dir_all(&self.path);
    }

    /// Writes the description, after which the data set is complete.
    pub(super) fn describe(&self, summary: &Summary) -> Result<(), Error> {
        let mut json = serde_json::to_vec_pretty(summary).map_err(|e| Error::Io {
            path: self.path.join(DESCRIPTION),
            doing: "write",
            why: e.to_string(),
        })?;
        json.push(b'\n');
        let own = self.write(DESCRIPTION, &json)?;
        let files = [&own].into_iter().chain(summary.files());
        let sums: String = files.map(|f| format!("{}  {}\n", f.sha256, f.file)).collect();
        self.write_durably(SUMS, sums.as_bytes())
    }

    /// Gives a complete data set its name. A data set that has the name is renamed; it is removed
    /// if it holds the same pictures with the same labels.
    pub(super) fn publish(self, summary: &Summary, replace: bool) -> Result<Published, Error> {
        let own = [DESCRIPTION, SUMS].into_iter().chain(summary.files().map(|f| f.file.as_str()));
        let own: Vec<PathBuf> = own.map(|name| self.path.join(name)).collect();
        // The key comes last: with it, a preparation that is cut off here can be resumed.
        let key = self.path.join(KEY);
        let mut rest = self.entries()?;
        rest.retain(|path| !own.contains(path) && *path != key);
        rest.iter().try_for_each(|path| remove(path))?;
        free(&self.dest, replace)?;
        let digest = |folder: &Path| read_summary(folder).ok().map(|(_, digest)| digest);
        let same = digest(&self.dest).is_some_and(|old| Some(old) == digest(&self.path));
        remove(&key)?;
        let mut before = None;
        if is_prepared(&self.dest) {
            before = Some(set_aside(&self.dest)?);
        }
        // Replaces an empty folder, and nothing else.
        fs::rename(&self.path, &self.dest)
            .map_err(Error::io(&self.dest, "give the data set its name at"))?;
        if let Some(old) = before.take_if(|_| same) {
            fs::remove_dir_all(&old).map_err(Error::io(&old, "remove"))?;
        }
        Ok(Published { path: self.dest, before })
    }
}

/// Creates the folder if it isn't there, and locks it.
fn lock(path: &Path) -> Result<File, Error> {
    loop {
        match fs::create_dir(path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::io(path, "create")(e));
            }
            _ => {}
        }
        let folder = File::open(path).map_err(Error::io(path, "open"))?;
        if let Err(TryLockError::WouldBlock) = folder.try_lock() {
            let why = "another preparation of the same destination is at work here; wait for its \
                       end, or choose another destination";
            return Err(Error::Destination { path: path.into(), why: why.into() });
        }
        // Some network file systems have no locks on folders; the preparation works without them.
        // A folder that was published or removed since it was opened is another one.
        let own = folder.metadata().map_err(Error::io(path, "open"))?;
        if fs::metadata(path).is_ok_and(|there| there.ino() == own.ino()) {
            return Ok(folder);
        }
    }
}

/// Checks that a data set may be created at `dest`.
fn free(dest: &Path, replace: bool) -> Result<(), Error> {
    let taken = |why: &str| Err(Error::Destination { path: dest.into(), why: why.into() });
    if is_prepared(dest) {
        return match replace {
            true => Ok(()),
            false => taken("there is a data set already; remove it, or choose another destination"),
        };
    }
    match fs::read_dir(dest).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => taken("a folder with files in it; choose an empty or new destination"),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            taken("a file; choose an empty or new folder as destination")
        }
        Err(e) => Err(Error::io(dest, "list")(e)),
    }
}

fn partial_name(dest: &Path) -> OsString {
    let name = dest.file_name().unwrap_or_default();
    let mut partial = OsString::from(".");
    match name.len() > LONGEST {
        true => partial.push(&sha256(name.as_encoded_bytes())[..32]),
        false => partial.push(name),
    }
    partial.push(".partial");
    partial
}

/// Removes folders with random names, which earlier versions left when they were killed.
fn remove_old_litter(parent: &Path, name: &OsString, watch: &dyn Watch) {
    let mut start = name.clone();
    start.push("-");
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let is_litter = |name: &OsString| {
        let end = name.as_encoded_bytes().strip_prefix(start.as_encoded_bytes());
        end.is_some_and(|end| end.len() == 6 && end.iter().all(u8::is_ascii_alphanumeric))
    };
    for entry in entries.filter(|entry| is_litter(&entry.file_name())) {
        let path = entry.path();
        if fs::remove_dir_all(&path).is_ok() {
            watch
                .say(&format!("removed {}, left by a preparation that was killed", path.display()));
        }
    }
}

/// Gives a data set the name `NAME.before`, or `NAME.before-2`, …, whatever is free.
fn set_aside(dest: &Path) -> Result<PathBuf, Error> {
    let name = dest.file_name().unwrap_or_default();
    let path = (1_u32..)
        .map(|n| before_name(dest, name, n))
        .find(|path| fs::symlink_metadata(path).is_err())
        .unwrap_or_default();
    fs::rename(dest, &path).map_err(Error::io(dest, "rename"))?;
    Ok(path)
}

fn before_name(dest: &Path, name: &std::ffi::OsStr, n: u32) -> PathBuf {
    let mut name = name.to_owned();
    name.push(if n == 1 { ".before".into() } else { format!(".before-{n}") });
    dest.with_file_name(name)
}

/// Data sets that were at a destination before the present one, the newest first.
pub fn before(dest: &Path) -> Vec<PathBuf> {
    let name = dest.file_name().unwrap_or_default();
    // A few numbers may be missing: people remove old data sets.
    let mut found: Vec<_> =
        (1..=64).map(|n| before_name(dest, name, n)).filter(|path| is_prepared(path)).collect();
    found.reverse();
    found
}

fn remove(path: &Path) -> Result<(), Error> {
    let removed = match fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    removed.map_err(Error::io(path, "remove"))
}
