//! Recognizes archives in a folder, or a file that is one, and reads them.
//!
//! A folder may hold archives itself, or in folders named after splits (`train`, `val`, `test`).
//! Names that everybody knows decide first (`ILSVRC2012_img_train.tar`, `data_batch_1.bin`), then
//! the contents of the archives.

mod purpose; // train, val or test, from a name
mod shape; // what kind of tar it is, from its first members

use std::path::{Path, PathBuf};

use super::listing::entries;
use super::reading::{Instead, SourceFile};
use super::system_names::passed_over;
use super::{Archive, Reading, cifar, foreign, ilsvrc, tarfolders, webdataset};
use crate::Error;

pub(super) use purpose::Purpose;
pub(super) use shape::{Shape, has_picture_name};

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
    compressed: Vec<PathBuf>,
    /// Kind and path of system files that have the name of an archive.
    passed_over: Vec<(&'static str, String)>,
    has_pictures: bool,
}

/// A file that is named as a tar.
#[derive(Debug, Clone)]
pub(super) struct Tar {
    pub(super) path: PathBuf,
    /// File name.
    pub(super) name: String,
    /// From the folder's name, or from the file's.
    pub(super) purpose: Option<Purpose>,
}

/// Reads a folder of archives; `None` if it holds none, or if they only lie beside folders of
/// pictures.
pub(super) fn find(folder: &Path) -> Result<Option<Reading>, Error> {
    let found = Found::look(folder)?;
    if let Some(reading) = cifar::find(folder)? {
        return Ok(Some(reading));
    }
    if let Some(reading) = ilsvrc::find(&found)? {
        return Ok(Some(found.finish(reading)));
    }
    if found.has_pictures || (found.tars.is_empty() && found.compressed.is_empty()) {
        return Ok(None);
    }
    read(&found).map(Some)
}

/// Reads a source that is a file.
///
/// # Errors
/// [`Error::Doubtful`] if it is no tar, or one without labeled pictures.
pub(super) fn find_file(path: &Path) -> Result<Reading, Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let root = path.parent().unwrap_or(Path::new("")).to_owned();
    let tars = vec![Tar { path: path.into(), name: name.clone(), purpose: None }];
    let mut reading = read(&Found { root, tars, ..Found::default() })?;
    if reading.name.is_empty() {
        let stem = Path::new(&name).file_stem().unwrap_or_default();
        reading.name = stem.to_string_lossy().into_owned();
    }
    Ok(reading)
}

fn read(found: &Found) -> Result<Reading, Error> {
    let mut reading = Reading { root: found.root.clone(), ..Reading::default() };
    let mut readable = Vec::new();
    let mut shapes = Vec::new();
    for tar in &found.tars {
        if let Some(doubt) = foreign::doubt(&tar.path) {
            reading.doubts.push(doubt);
            reading.source_file(&tar.path);
            continue;
        }
        match Shape::of(&Archive::open(&tar.path)?) {
            Ok(shape) => {
                shapes.push(shape);
                readable.push(tar.clone());
            }
            Err(fault) => reading.doubt_archive(&tar.path.display().to_string(), &fault),
        }
    }
    if readable.is_empty() {
        reading.doubts.extend(found.compressed.iter().filter_map(|path| foreign::doubt(path)));
        if reading.doubts.is_empty() {
            let why = "archives with nothing in them; expected tars of pictures".into();
            return Err(Error::Layout { path: found.root.clone(), why });
        }
        reading.layout = "archives";
        return Ok(found.finish(reading));
    }
    let shape = Shape::of_all(&shapes);
    let mut reading = match shape {
        Shape::Tars => ilsvrc::find_tars(&found.root, &readable, reading)?,
        Shape::Folders => tarfolders::find(&readable, reading)?,
        Shape::Pictures if tarfolders::are_classes(&readable) => {
            ilsvrc::find_class_tars(&found.root, readable, reading)?
        }
        Shape::Samples | Shape::Pictures => webdataset::find(&readable, reading)?,
        Shape::Other => no_pictures(&readable, reading),
    };
    for path in &found.compressed {
        let doubt = foreign::doubt(path);
        let why = doubt.map_or_else(|| "not a tar".into(), |doubt| doubt.why);
        let below = path.strip_prefix(&found.root).unwrap_or(path);
        reading.leave_out(below.display().to_string(), why);
    }
    Ok(found.finish(reading))
}

fn no_pictures(tars: &[Tar], mut reading: Reading) -> Reading {
    reading.layout = "archives";
    for tar in tars {
        let command = foreign::unpack_tar(&tar.path);
        let why = format!(
            "{}: no pictures were found in this tar; expected class folders of pictures, pictures \
             with labels beside them (WebDataset), or one tar per class; look into it: `{command}`",
            tar.path.display()
        );
        reading.doubt(why, Some(Instead::Before(command)));
    }
    reading
}

impl Found {
    fn look(folder: &Path) -> Result<Self, Error> {
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
        let purpose = Purpose::of_word(&name);
        // A folder that can't be listed is named by the reader of folders.
        for entry in std::fs::read_dir(&path).into_iter().flatten().flatten().take(MOST_LOOKED_AT) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let folder = entry.path().is_dir();
            let is_class = purpose.is_some() && folder && passed_over(&name).is_none();
            self.has_pictures |= is_class || (!folder && has_picture_name(&name));
        }
        if let Some(purpose) = purpose {
            let files = entries(&path).unwrap_or_default().into_iter();
            for (name, path) in files.filter(|(_, path)| path.is_file()) {
                self.file(name, path, Some(purpose));
            }
        }
        self.folders.push((name, path));
        Ok(())
    }

    fn file(&mut self, name: String, path: PathBuf, purpose: Option<Purpose>) {
        let is_tar = name.to_lowercase().ends_with(".tar");
        if !is_tar && !foreign::has_compressed_name(&name) {
            return;
        }
        if let Some(what) = passed_over(&name) {
            let below = path.strip_prefix(&self.root).unwrap_or(&path).display().to_string();
            self.passed_over.push((what, below));
        } else if is_tar && path.is_file() {
            let purpose = purpose.or_else(|| Purpose::of_name(&name));
            self.tars.push(Tar { path, name, purpose });
        } else {
            self.compressed.push(path);
        }
    }

    fn finish(&self, mut reading: Reading) -> Reading {
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

#[cfg(test)]
mod tests;
