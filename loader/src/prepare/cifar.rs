//! CIFAR-10's binary batches: a label byte, then 1,024 bytes each of red, green and blue.

use std::path::{Path, PathBuf};

use super::{Archive, Location, Picture, Reading};
use crate::Error;

/// Side of the pictures, which is not changed.
pub(super) const SIDE: usize = 32;
const PIXELS: usize = 3 * SIDE * SIDE;
const RECORD: u64 = 1 + PIXELS as u64;

/// Class names in label order, for batches without `batches.meta.txt`.
const NAMES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

pub(super) fn find(root: &Path, batches: &[PathBuf]) -> Result<Reading, Error> {
    let classes = names(root)?.into_iter().map(|name| (name.clone(), name)).collect();
    let name = "cifar-10".into();
    let layout = "cifar-10";
    let mut reading =
        Reading { layout, name, root: root.into(), classes, raw: true, ..Reading::default() };
    for batch in batches {
        let pictures = records(&mut reading, batch)?;
        reading.train.extend(pictures);
    }
    let test = root.join("test_batch.bin");
    if test.is_file() {
        reading.val = Some(records(&mut reading, &test)?);
    }
    Ok(reading)
}

fn names(root: &Path) -> Result<Vec<String>, Error> {
    let path = root.join("batches.meta.txt");
    if !path.is_file() {
        return Ok(NAMES.map(String::from).into());
    }
    let text = std::fs::read_to_string(&path).map_err(Error::io(&path, "read"))?;
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|name| !name.is_empty()).map(String::from).collect();
    if names.len() != NAMES.len() {
        let why = format!("{} class names, expected 10", names.len());
        return Err(Error::Layout { path, why });
    }
    Ok(names)
}

fn records(reading: &mut Reading, path: &Path) -> Result<Vec<Picture>, Error> {
    let archive = Archive::open(path)?;
    let number = reading.archives.len() as u32;
    let mut pictures = Vec::new();
    for i in 0..archive.bytes / RECORD {
        let name = format!("picture {i}");
        let label = archive.read(i * RECORD, 1).map_err(Error::io(path, "read"))?[0];
        if usize::from(label) >= NAMES.len() {
            let reason = format!("label {label}, expected 0 to 9");
            reading.leave_out(format!("{}/{name}", archive.name), reason);
            continue;
        }
        let location = Location::Member {
            archive: number,
            name: name.into(),
            offset: i * RECORD + 1,
            length: PIXELS as u64,
        };
        pictures.push(Picture { label: label.into(), location });
    }
    let rest = archive.bytes % RECORD;
    if rest > 0 {
        let file = format!("{}/picture {}", archive.name, archive.bytes / RECORD);
        reading.leave_out(file, format!("{rest} of {RECORD} bytes: the file ends too early"));
    }
    reading.archives.push(archive);
    Ok(pictures)
}

/// Turns a stored picture `[3, 32, 32]` into `[32, 32, 3]`.
pub(super) fn pixels(planes: &[u8]) -> Result<Vec<u8>, String> {
    if planes.len() != PIXELS {
        return Err(format!("{} bytes, expected {PIXELS}", planes.len()));
    }
    let n = SIDE * SIDE;
    Ok((0..n).flat_map(|i| [planes[i], planes[n + i], planes[2 * n + i]]).collect())
}
