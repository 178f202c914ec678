//! Recognizes the layout of a source.

use std::path::Path;

use super::listing::entries;
use super::{Reading, archives, folders, ilsvrc::kaggle};
use crate::Error;

const KNOWN: &str = "not a known layout; expected one of: \
    train/<class>/* with val/<class>/* · <class>/* · \
    CIFAR-10's data_batch_*.bin · \
    ILSVRC2012_img_train.tar with ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz \
    (or LOC_val_solution.csv) · Kaggle's ILSVRC/Data/CLS-LOC · \
    WebDataset tars of key.jpg with key.cls or key.json";

/// Lists the pictures of `source`, whatever known layout it has.
pub(super) fn find(source: &Path) -> Result<Reading, Error> {
    let kind = std::fs::metadata(source).map_err(Error::io(source, "open"))?;
    if kind.is_file() {
        return archives::find_file(source);
    }
    let entries = entries(source)?;
    let mut reading = if let Some(reading) = archives::find(source)? {
        Ok(reading)
    } else if let Some(reading) = kaggle::find(source)? {
        Ok(reading)
    } else if source.join("train").is_dir() {
        folders::find_splits(source)
    } else if entries.iter().any(|(name, path)| !name.starts_with('.') && path.is_dir()) {
        folders::find_classes(source)
    } else {
        Err(Error::Layout { path: source.into(), why: KNOWN.into() })
    }?;
    if reading.name.is_empty() {
        reading.name = name_of(source);
    }
    Ok(reading)
}

fn name_of(source: &Path) -> String {
    let whole = source.canonicalize().unwrap_or_else(|_| source.into());
    let name = whole.file_stem().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "data".into())
}
