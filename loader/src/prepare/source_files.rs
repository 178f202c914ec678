//! The files of a source with lengths and times, where the reading of a layout doesn't list them
//! itself.

use std::path::Path;

use rayon::prelude::*;

use super::{Location, Reading, SourceFile};

/// Lists the files that pictures are read from, unless the reading has a list.
pub(super) fn complete(reading: &mut Reading, source: &Path) {
    if !reading.files.is_empty() {
        return;
    }
    let splits = [Some(&reading.train), reading.val.as_ref(), reading.test.as_ref()];
    let pictures = splits.into_iter().flatten().flatten();
    let paths: Vec<_> = pictures
        .filter_map(|picture| match &picture.location {
            Location::File(path) => Some(reading.root.join(path)),
            Location::Member { .. } => None,
        })
        .chain(reading.archives.iter().map(|archive| reading.root.join(&archive.name)))
        .chain(Some(reading.root.join("classes.txt")))
        .collect();
    reading.files = paths.par_iter().filter_map(|path| SourceFile::at(source, path)).collect();
}
