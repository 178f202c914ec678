//! Recognizes the layout of a source.

use std::path::Path;

use super::listing::entries;
use super::{Reading, cifar, folders, ilsvrc, webdataset};
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
        return match source.extension() {
            Some(end) if end == "tar" => webdataset::find(source, vec![source.into()]),
            _ => Err(Error::Layout { path: source.into(), why: KNOWN.into() }),
        };
    }
    let entries = entries(source)?;
    let named = |test: &dyn Fn(&str) -> bool| -> Vec<_> {
        entries.iter().filter(|(name, _)| test(name)).map(|(_, path)| path.clone()).collect()
    };
    let batches = named(&|name| name.starts_with("data_batch_") && name.ends_with(".bin"));
    let tars = named(&|name| name.ends_with(".tar"));
    let mut reading = if ilsvrc::matches(source) {
        ilsvrc::find(source)
    } else if !batches.is_empty() {
        cifar::find(source, &batches)
    } else if source.join("train").is_dir() {
        folders::find_splits(source)
    } else if !tars.is_empty() {
        webdataset::find(source, tars)
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
