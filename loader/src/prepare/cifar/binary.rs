//! The binary version: records of labels and pixels.

use std::path::Path;

use super::PIXELS;
use crate::Error;
use crate::prepare::{Location, Picture, Reading};

/// Lists the pictures of a batch; returns also the number of its records.
pub(super) fn pictures(
    reading: &mut Reading,
    path: &Path,
    n_classes: usize,
) -> Result<(Vec<Picture>, usize), Error> {
    let labels = if n_classes == 100 { 2 } else { 1 };
    let record = labels + PIXELS as u64;
    let (number, archive) = reading.open_archive(path)?;
    let n = archive.bytes / record;
    let mut pictures = Vec::new();
    for i in 0..n {
        let name = format!("picture {i}");
        // The fine label comes last.
        let label = archive.read(i * record + labels - 1, 1).map_err(Error::io(path, "read"))?[0];
        if usize::from(label) >= n_classes {
            let reason = format!("label {label}, expected 0 to {}", n_classes - 1);
            reading.leave_out(format!("{}/{name}", archive.name), reason);
            continue;
        }
        let location = Location::Member {
            archive: number,
            name: name.into(),
            offset: i * record + labels,
            length: PIXELS as u64,
        };
        pictures.push(Picture { label: label.into(), location });
    }
    let rest = archive.bytes % record;
    if rest > 0 {
        let file = format!("{}/picture {n}", archive.name);
        reading.leave_out(file, format!("{rest} of {record} bytes: the file ends too early"));
        reading.doubt_partial(format!(
            "{} is cut short: it ends inside picture {n}; download or copy it again, or use what \
             it holds with --partial",
            archive.name
        ));
    }
    Ok((pictures, n as usize))
}
