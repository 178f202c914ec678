//! The Python version: pickled dictionaries.

use std::path::Path;

use super::PIXELS;
use crate::Error;
use crate::prepare::archive::Archive;
use crate::prepare::pickle::{self, Value};
use crate::prepare::{Location, Picture, Reading};

/// Upper bound for the length of a batch, in bytes; CIFAR-100's has 155 MB.
const LIMIT: u64 = 1 << 30;
const REMEDY: &str = "download or unpack it again";

fn unpickle(path: &Path) -> Result<(Vec<u8>, Value), Error> {
    let bad = |why: String| Error::Layout { path: path.into(), why };
    let length = std::fs::metadata(path).map_err(Error::io(path, "read"))?.len();
    if length > LIMIT {
        return Err(bad(format!("{length} bytes; expected a batch of CIFAR of at most {LIMIT}")));
    }
    let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
    let value = pickle::read(&bytes).map_err(|why| bad(format!("{why}; {REMEDY}")))?;
    Ok((bytes, value))
}

/// The names of the classes.
pub(super) fn names(path: &Path) -> Result<Vec<String>, Error> {
    let (bytes, value) = unpickle(path)?;
    let names = ["fine_label_names", "label_names"].iter().find_map(|key| value.get(&bytes, key));
    let names = names.and_then(Value::items).unwrap_or_default().iter();
    Ok(names.filter_map(|name| name.as_text(&bytes)).collect())
}

/// Lists the pictures of a batch; returns also their number.
pub(super) fn pictures(
    reading: &mut Reading,
    path: &Path,
    n_classes: usize,
) -> Result<(Vec<Picture>, usize), Error> {
    let (number, archive) = reading.open_archive(path)?;
    let (bytes, value) = match unpickle(path) {
        Err(Error::Layout { why, .. }) => {
            reading.doubt_partial(format!("{}: {why}", archive.name));
            return Ok((Vec::new(), 0));
        }
        other => other?,
    };
    let bad = |why: &str| Error::Layout { path: path.into(), why: format!("{why}; {REMEDY}") };
    let labels = ["fine_labels", "labels"].iter().find_map(|key| value.get(&bytes, key));
    let labels = labels.and_then(Value::items).ok_or_else(|| bad("no labels in this batch"))?;
    let data = value.get(&bytes, "data").and_then(|v| v.bytes_of_length(labels.len() * PIXELS));
    let data = data.ok_or_else(|| bad("the pixels of this batch aren't one array of bytes"))?;
    let is_by_column = value.get(&bytes, "data").is_some_and(by_column);
    let start = if is_by_column {
        // Each picture's pixels lie apart from each other: put them together once.
        let rows = by_rows(&bytes[data], labels.len());
        reading.archives[number as usize] = Archive::in_memory(archive.name.clone(), rows);
        0
    } else {
        data.start as u64
    };
    let mut pictures = Vec::with_capacity(labels.len());
    for (i, label) in labels.iter().enumerate() {
        let name = format!("picture {i}");
        let label = label.as_int().and_then(|label| u32::try_from(label).ok());
        let Some(label) = label.filter(|label| (*label as usize) < n_classes) else {
            let reason = format!("no label from 0 to {}", n_classes - 1);
            reading.leave_out(format!("{}/{name}", archive.name), reason);
            continue;
        };
        let (offset, length) = (start + (i * PIXELS) as u64, PIXELS as u64);
        let location = Location::Member { archive: number, name: name.into(), offset, length };
        pictures.push(Picture { label, location });
    }
    Ok((pictures, labels.len()))
}

/// Returns true if an array's state says that its columns are contiguous: (version, shape, type, by
/// column, bytes).
fn by_column(array: &Value) -> bool {
    match array {
        Value::Object(parts) => parts.iter().any(by_column),
        Value::Items(state) => match state.as_slice() {
            [_, Value::Items(shape), _, order, Value::Bytes(_)] => {
                shape.len() == 2 && *order == Value::True
            }
            _ => state.iter().any(by_column),
        },
        _ => false,
    }
}

fn by_rows(columns: &[u8], n: usize) -> Vec<u8> {
    (0..n).flat_map(|i| (0..PIXELS).map(move |k| columns[k * n + i])).collect()
}
