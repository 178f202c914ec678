//! Recognizes archives in a folder, or a file that is one, and reads them.
//!
//! A folder may hold archives itself, or in folders named after splits (`train`, `val`, `test`).
//! Names that everybody knows decide first (`ILSVRC2012_img_train.tar`, `data_batch_1.bin`), then
//! the contents of the archives.

mod shape; // what kind of tar it is, from its first members

use std::path::Path;

use super::found::{Found, Tar};
use super::{Archive, Reading, cifar, foreign, ilsvrc, tarfolders, webdataset};
use crate::Error;
use crate::doubt::Instead;

use shape::Shape;

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
    let tars = vec![Tar { path: path.into(), name: name.clone(), split: None }];
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
        Shape::Folders => {
            let (root, doubts, files) =
                (found.root.clone(), reading.doubts.clone(), reading.files.clone());
            match tarfolders::find(
                &readable,
                Reading { root, doubts, files, ..Reading::default() },
            )? {
                Some(reading) => reading,
                None => webdataset::find(&readable, reading)?,
            }
        }
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

#[cfg(test)]
mod tests;
