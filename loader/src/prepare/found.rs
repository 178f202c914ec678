//! The archives in a folder and in its split folders, by name.

use crate::Split;
use crate::prepare::split_names;
use std::path::{Path, PathBuf};

use super::archive::Archive;
use super::file_names::has_picture_name;
use super::foreign;
use super::listing::entries;
use super::reading::{Reading, SourceFile};
use super::system_names::passed_over;
use crate::Error;

/// Most entries of a folder that are looked at to see whether it holds pictures.
const MOST_LOOKED_AT: usize = 200;

/// The archives in a folder and in its split folders.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) root: PathBuf,
    pub(super) tars: Vec<Tar>,
    /// Folders inside the folder, by name.
    pub(super) folders: Vec<(String, PathBuf)>,
    /// Archives that are no tars.
    pub(super) compressed: Vec<PathBuf>,
    /// Kind and path of system files that have the name of an archive.
    pub(super) passed_over: Vec<(&'static str, String)>,
    pub(super) has_pictures: bool,
}

/// A file that is named as a tar.
#[derive(Debug, Clone)]
pub(super) struct Tar {
    pub(super) path: PathBuf,
    /// File name.
    pub(super) name: String,
    /// From the folder's name, or from the file's.
    pub(super) split: Option<Split>,
}

impl Found {
    pub(super) fn look(folder: &Path) -> Result<Self, Error> {
        let mut found = Self { root: folder.into(), ..Self::default() };
        for (name, path) in entries(folder)? {
            if path.is_dir() {
                if passed_over(&name).is_none() {
                    found.look_inside(name, path)?;
                }
            } else {
                found.file(name, path, None);
            }
        }
        Ok(found)
    }

    /// Looks into a folder inside the folder: archives of a split, or pictures.
    fn look_inside(&mut self, name: String, path: PathBuf) -> Result<(), Error> {
        let split = split_names::plain_split(&name);
        // A folder that can't be listed is named by the reader of folders.
        for entry in std::fs::read_dir(&path).into_iter().flatten().flatten().take(MOST_LOOKED_AT) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let folder = entry.path().is_dir();
            let is_class = split.is_some() && folder && passed_over(&name).is_none();
            self.has_pictures |= is_class || (!folder && has_picture_name(&name));
        }
        if let Some(split) = split {
            let files = entries(&path).unwrap_or_default().into_iter();
            for (name, path) in files.filter(|(_, path)| path.is_file()) {
                self.file(name, path, Some(split));
            }
        }
        self.folders.push((name, path));
        Ok(())
    }

    fn file(&mut self, name: String, path: PathBuf, split: Option<Split>) {
        let is_tar = name.to_lowercase().ends_with(".tar");
        let is_ours = name == crate::dataset::SOURCE_FILES; // the list in a prepared data set
        if is_ours || (!is_tar && !foreign::has_compressed_name(&name)) {
            return;
        }
        if let Some(what) = passed_over(&name) {
            let below = path.strip_prefix(&self.root).unwrap_or(&path).display().to_string();
            self.passed_over.push((what, below));
        } else if is_tar && path.is_file() {
            let split = split.or_else(|| split_names::split_of_file(&name));
            self.tars.push(Tar { path, name, split });
        } else {
            self.compressed.push(path);
        }
    }

    pub(super) fn finish(&self, mut reading: Reading) -> Reading {
        for (what, name) in &self.passed_over {
            reading.passed_over.add(what, || name.clone());
        }
        reading
    }
}

impl Reading {
    /// Remembers a file that decides what is prepared.
    pub(super) fn source_file(&mut self, path: &Path) {
        self.files.extend(SourceFile::at(&self.root, path));
    }

    /// Opens an archive of this source; returns its number.
    pub(super) fn open_archive(&mut self, path: &Path) -> Result<(u32, Archive), Error> {
        let archive = Archive::open_below(&self.root, path)?;
        self.source_file(path);
        self.archives.push(archive.clone());
        Ok((self.archives.len() as u32 - 1, archive))
    }
}
