//! A folder with everything below it, listed once: what is somebody's, and what is passed over.
//!
//! Links are followed. A folder is read once, however many links lead to it, so that links into a
//! parent end. Real folders come before links to them.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, FileType, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization;

use super::file_names::{self, Kind};
use super::reading::{Reading, SourceFile};
use super::system_names;
use crate::Error;

/// Everything below a folder. Folder 0 is the folder itself.
#[derive(Debug)]
pub(super) struct Tree {
    folders: Vec<Folder>,
}

/// Number of a folder in its tree.
pub(super) type Id = usize;

/// A folder of a tree.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// Name in Unicode's composed form (NFC), in which macOS and Linux write the same name.
    pub(super) name: String,
    pub(super) parent: Option<Id>,
    /// Folders in it, sorted by name.
    pub(super) folders: Vec<Id>,
    /// Files in it, sorted by name.
    pub(super) files: Vec<File>,
}

/// A file of a tree.
#[derive(Debug)]
pub(super) struct File {
    pub(super) name: OsString,
    bytes: u64,
    modified_ns: i64,
}

impl File {
    /// Length in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Name in Unicode's composed form; bytes that are no Unicode are replaced.
    pub(super) fn name(&self) -> String {
        composed(&self.name.to_string_lossy())
    }
}

fn may_be_picture(file: &File) -> bool {
    matches!(file_names::kind(&file.name()), Kind::Picture | Kind::Unknown)
}

/// Text in Unicode's composed form (NFC).
pub(super) fn composed(text: &str) -> String {
    text.nfc().collect()
}

impl Tree {
    /// Lists everything below `root`; what is passed over or can't be listed goes to `reading`.
    ///
    /// # Errors
    /// [`Error::Io`] if `root` itself can't be listed.
    pub(super) fn read(root: &Path, reading: &mut Reading) -> Result<Self, Error> {
        let metadata = fs::metadata(root).map_err(Error::io(root, "open"))?;
        let mut walk = Walk {
            root,
            reading,
            seen: HashSet::from([(metadata.dev(), metadata.ino())]),
            links: BTreeMap::new(),
            folders: Vec::new(),
        };
        walk.add(root.to_owned(), None);
        walk.list(0).map_err(Error::io(root, "list"))?;
        walk.everything_below(0);
        while let Some((path, parent)) = walk.links.pop_first() {
            walk.follow(path, parent);
        }
        Ok(Self { folders: walk.sorted() })
    }

    pub(super) fn folder(&self, id: Id) -> &Folder {
        &self.folders[id]
    }

    /// Folders in a folder, in the order of their names.
    pub(super) fn in_folder(&self, id: Id) -> impl Iterator<Item = (Id, &Folder)> {
        self.folders[id].folders.iter().map(|&id| (id, &self.folders[id]))
    }

    /// Folders in a folder that may have a picture somewhere below them.
    pub(super) fn filled(&self, id: Id) -> Vec<Id> {
        let folders = self.folders[id].folders.iter().copied();
        folders.filter(|&id| self.any(id, &may_be_picture)).collect()
    }

    /// The only folder in a folder that has files, if there are no pictures beside it.
    pub(super) fn only_folder(&self, id: Id) -> Option<Id> {
        let folder = &self.folders[id];
        let mut filled = folder.folders.iter().copied().filter(|id| self.any(*id, &|_| true));
        let only = filled.next()?;
        let alone = filled.next().is_none() && !folder.files.iter().any(may_be_picture);
        alone.then_some(only)
    }

    /// Returns true if a folder holds files, and none of them may be a picture.
    pub(super) fn has_only_other_files(&self, id: Id) -> bool {
        self.any(id, &|_| true) && !self.any(id, &may_be_picture)
    }

    fn any(&self, id: Id, test: &dyn Fn(&File) -> bool) -> bool {
        let folder = &self.folders[id];
        folder.files.iter().any(test) || folder.folders.iter().any(|&id| self.any(id, test))
    }

    /// The folder at a path below the tree's own folder.
    pub(super) fn find(&self, below: &Path) -> Option<Id> {
        let path = &self.folders[0].path;
        let whole = if below == Path::new(".") { path.clone() } else { path.join(below) };
        self.folders.iter().position(|folder| folder.path == whole)
    }

    /// Calls `visit` for a folder and each folder below it, in the order of their names.
    pub(super) fn visit<'a>(&'a self, id: Id, visit: &mut impl FnMut(Id, &'a Folder)) {
        let mut waiting = vec![id];
        while let Some(id) = waiting.pop() {
            visit(id, &self.folders[id]);
            waiting.extend(self.folders[id].folders.iter().rev());
        }
    }

    /// All files, for the recognition of changes.
    pub(super) fn source_files(&self) -> Vec<SourceFile> {
        let root = &self.folders[0].path;
        let mut files = Vec::new();
        self.visit(0, &mut |_, folder| {
            let below = folder.path.strip_prefix(root).unwrap_or(&folder.path);
            files.extend(folder.files.iter().map(|file| SourceFile {
                path: below.join(&file.name),
                bytes: file.bytes,
                modified_ns: file.modified_ns,
            }));
        });
        files.sort();
        files
    }
}

/// A walk through folders.
struct Walk<'a> {
    root: &'a Path,
    reading: &'a mut Reading,
    /// Device and inode of each folder that has been read.
    seen: HashSet<(u64, u64)>,
    /// Links to folders that are still to be followed, with the folder that holds the link.
    links: BTreeMap<PathBuf, Id>,
    folders: Vec<Folder>,
}

impl Walk<'_> {
    fn below(&self, path: &Path) -> String {
        path.strip_prefix(self.root).unwrap_or(path).to_string_lossy().into_owned()
    }

    fn pass_over(&mut self, reason: &'static str, path: &Path) {
        let below = self.below(path);
        self.reading.passed_over.add(reason, || below);
    }

    fn add(&mut self, path: PathBuf, parent: Option<Id>) -> Id {
        let id = self.folders.len();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = composed(&name);
        self.folders.push(Folder { path, name, parent, folders: Vec::new(), files: Vec::new() });
        if let Some(parent) = parent {
            self.folders[parent].folders.push(id);
        }
        id
    }

    /// Lists the folders below `first` that are no links; the links wait.
    fn everything_below(&mut self, first: Id) {
        let mut waiting = self.folders[first].folders.clone();
        while let Some(id) = waiting.pop() {
            match self.list(id) {
                Ok(()) => waiting.extend(&self.folders[id].folders),
                Err(e) => {
                    let below = self.below(&self.folders[id].path);
                    self.reading.leave_out(below, format!("a folder that can't be listed: {e}"));
                }
            }
        }
    }

    fn list(&mut self, id: Id) -> io::Result<()> {
        let path = self.folders[id].path.clone();
        for entry in fs::read_dir(&path)? {
            let entry = entry?;
            super::listing::count(1);
            let name = entry.file_name();
            let path = entry.path();
            if let Some(reason) = system_names::passed_over(&name.to_string_lossy()) {
                self.pass_over(reason, &path);
                continue;
            }
            let looked_at = entry.file_type().and_then(|kind| Ok((kind, fs::metadata(&path)?)));
            match looked_at {
                Ok((kind, metadata)) => self.entry(id, path, name, kind, &metadata),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    self.reading_leaves(&path, "a link to nothing".into());
                }
                Err(e) => self.reading_leaves(&path, format!("can't be looked at: {e}")),
            }
        }
        Ok(())
    }

    fn reading_leaves(&mut self, path: &Path, reason: String) {
        let below = self.below(path);
        self.reading.leave_out(below, reason);
    }

    fn entry(&mut self, id: Id, path: PathBuf, name: OsString, kind: FileType, is: &Metadata) {
        if is.is_dir() {
            if kind.is_symlink() {
                self.links.insert(path, id);
            } else if self.seen.insert((is.dev(), is.ino())) {
                self.folder(path, id);
            } else {
                self.pass_over("folders that are read already, under another path", &path);
            }
        } else if is.is_file() {
            let SourceFile { bytes, modified_ns, .. } = SourceFile::of(PathBuf::new(), is);
            self.folders[id].files.push(File { name, bytes, modified_ns });
        } else {
            self.pass_over(special(is.file_type()), &path);
        }
    }

    /// Adds a folder, unless it is one of this program's own products.
    fn folder(&mut self, path: PathBuf, parent: Id) -> Option<Id> {
        match product(&path) {
            Some(reason) => {
                self.pass_over(reason, &path);
                None
            }
            None => Some(self.add(path, Some(parent))),
        }
    }

    /// Reads the folder that a link leads to, unless it has been read.
    fn follow(&mut self, path: PathBuf, parent: Id) {
        let Ok(metadata) = fs::metadata(&path) else {
            return self.reading_leaves(&path, "a link to nothing".into());
        };
        if !self.seen.insert((metadata.dev(), metadata.ino())) {
            return self.pass_over("links to folders that are read already", &path);
        }
        if let Some(id) = self.folder(path, parent) {
            if let Err(e) = self.list(id) {
                let path = self.folders[id].path.clone();
                return self.reading_leaves(&path, format!("a folder that can't be listed: {e}"));
            }
            self.everything_below(id);
        }
    }

    /// The folders, each with its contents in the order of names, whatever order the disk has.
    fn sorted(self) -> Vec<Folder> {
        let mut folders = self.folders;
        let paths: Vec<PathBuf> = folders.iter().map(|folder| folder.path.clone()).collect();
        for folder in &mut folders {
            folder.folders.sort_by(|a, b| paths[*a].cmp(&paths[*b]));
            folder.files.sort_by(|a, b| a.name.cmp(&b.name));
        }
        folders
    }
}

/// A description of something that is neither a file nor a folder. It is never opened: a pipe
/// without a writer would hold the program up.
fn special(kind: FileType) -> &'static str {
    if kind.is_fifo() {
        "pipes"
    } else if kind.is_socket() {
        "sockets"
    } else {
        "devices"
    }
}

/// A description of a folder that this program made.
pub fn product(path: &Path) -> Option<&'static str> {
    let has = |file: &str| path.join(file).is_file();
    if has(crate::dataset::DESCRIPTION) && has(crate::dataset::SUMS) {
        Some("prepared data sets")
    } else if has("run.json") && has("recipe.toml") {
        Some("run directories")
    } else {
        None
    }
}
