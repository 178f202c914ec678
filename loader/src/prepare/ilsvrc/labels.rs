//! The classes of the validation pictures: from Kaggle's `LOC_val_solution.csv`, or from the
//! development kit's ground truth and `meta.mat`.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::SOLUTION;
use crate::Error;
use crate::prepare::matfile::{self, Value};

const KIT: &str = "ILSVRC2012_devkit_t12";
const TRUTH: &str = "data/ILSVRC2012_validation_ground_truth.txt";
const META: &str = "data/meta.mat";
const NAMES: &str = "LOC_synset_mapping.txt";

/// Classes of the validation pictures, and names of classes.
#[derive(Debug, Default)]
pub(super) struct Labels {
    /// Name of the file that the classes were read from.
    pub(super) from: String,
    /// Classes by picture name without extension.
    of_picture: HashMap<String, String>,
    /// Classes by the number in the picture's name, which counts from 1.
    of_number: Vec<String>,
    names: HashMap<String, String>,
}

impl Labels {
    /// Reads the files that are present; Kaggle's solution, which names pictures, takes precedence.
    pub(super) fn find(root: &Path) -> Result<Self, Error> {
        let mut labels = Self { from: format!("{SOLUTION} or {KIT}.tar.gz"), ..Self::default() };
        if let Some([truth, meta]) = kit(root)? {
            labels.read_kit(root, &truth, &meta)?;
        }
        let solution = root.join(SOLUTION);
        if solution.is_file() {
            labels.read_solution(&solution)?;
        }
        let names = root.join(NAMES);
        if names.is_file() {
            let text = std::fs::read_to_string(&names).map_err(Error::io(&names, "read"))?;
            let lines = text.lines().filter_map(|line| line.split_once(' '));
            labels.names.extend(lines.map(|(key, name)| (key.into(), short(name))));
        }
        Ok(labels)
    }

    pub(super) fn classes(&self) -> impl Iterator<Item = String> {
        self.of_picture.values().chain(&self.of_number).cloned()
    }

    pub(super) fn name_of(&self, class: &str) -> Option<String> {
        self.names.get(class).cloned()
    }

    /// The class of a picture such as `ILSVRC2012_val_00000001.JPEG`.
    pub(super) fn class_of(&self, file: &str) -> Option<&str> {
        let stem = file.split('.').next()?;
        if let Some(class) = self.of_picture.get(stem) {
            return Some(class);
        }
        let number: usize = stem.strip_prefix("ILSVRC2012_val_")?.parse().ok()?;
        self.of_number.get(number.checked_sub(1)?).map(String::as_str)
    }

    fn read_solution(&mut self, path: &Path) -> Result<(), Error> {
        let bad = |why: String| Error::Layout { path: path.into(), why };
        let mut reader = csv::Reader::from_path(path).map_err(|e| bad(e.to_string()))?;
        for row in reader.records() {
            let row = row.map_err(|e| bad(e.to_string()))?;
            let class = row.get(1).and_then(|boxes| boxes.split_whitespace().next());
            let (Some(picture), Some(class)) = (row.get(0), class) else {
                let line = row.position().map_or(0, |p| p.line());
                return Err(bad(format!("line {line}: expected a picture and its class")));
            };
            self.of_picture.insert(picture.into(), class.into());
        }
        self.from = SOLUTION.into();
        Ok(())
    }

    fn read_kit(&mut self, root: &Path, truth: &[u8], meta: &[u8]) -> Result<(), Error> {
        let bad = |file: &str, why: String| Error::Layout { path: root.join(KIT).join(file), why };
        let synsets = synsets(meta).map_err(|why| bad(META, why))?;
        for (_, class, name) in &synsets {
            self.names.insert(class.clone(), name.clone());
        }
        let class_of: HashMap<u64, &String> = synsets.iter().map(|(id, c, _)| (*id, c)).collect();
        for (line, number) in String::from_utf8_lossy(truth).split_whitespace().enumerate() {
            let class = number.parse().ok().and_then(|id: u64| class_of.get(&id));
            let Some(class) = class else {
                let why = format!("line {}: {number:?} is no class's number in {META}", line + 1);
                return Err(bad(TRUTH, why));
            };
            self.of_number.push((*class).clone());
        }
        self.from = format!("{KIT}/{TRUTH}");
        Ok(())
    }
}

/// Shortens a class's names to the first: `tench, Tinca tinca` → `tench`.
fn short(names: &str) -> String {
    names.split(',').next().unwrap_or(names).trim().into()
}

/// Reads ground truth and `meta.mat` of the kit, an archive or an unpacked folder.
fn kit(root: &Path) -> Result<Option<[Vec<u8>; 2]>, Error> {
    let folder = root.join(KIT);
    if folder.is_dir() {
        let read = |file: &str| {
            let path = folder.join(file);
            std::fs::read(&path).map_err(Error::io(&path, "read"))
        };
        return Ok(Some([read(TRUTH)?, read(META)?]));
    }
    let path = root.join(format!("{KIT}.tar.gz"));
    if !path.is_file() {
        return Ok(None);
    }
    let found = unpack(&path).map_err(Error::io(&path, "unpack"))?;
    let [Some(truth), Some(meta)] = found else {
        let why = format!("a development kit without {TRUTH} and {META}; download it again");
        return Err(Error::Layout { path, why });
    };
    Ok(Some([truth, meta]))
}

fn unpack(path: &Path) -> std::io::Result<[Option<Vec<u8>>; 2]> {
    let mut found = [None, None];
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(File::open(path)?));
    for entry in tar.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.into_owned();
        for (slot, wanted) in found.iter_mut().zip([TRUTH, META]) {
            if name.ends_with(wanted) {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                *slot = Some(bytes);
            }
        }
    }
    Ok(found)
}

/// Reads number, WordNet id and name of each class from `meta.mat`.
fn synsets(meta: &[u8]) -> Result<Vec<(u64, String, String)>, String> {
    let variables = matfile::read(meta)?;
    let synsets = variables.into_iter().find_map(|(name, value)| match value {
        Value::Structs(fields) if name == "synsets" => Some(fields),
        _ => None,
    });
    let fields = synsets.ok_or("no structures named synsets in it")?;
    let field = |name: &str| {
        let found = fields.iter().find(|(n, _)| n == name).map(|(_, values)| values);
        found.ok_or_else(|| format!("synsets without {name}"))
    };
    let (ids, wnids, words) = (field("ILSVRC2012_ID")?, field("WNID")?, field("words")?);
    let one = |((id, wnid), words): ((&Value, &Value), &Value)| match (id, wnid, words) {
        (Value::Numbers(id), Value::Text(wnid), Value::Text(words)) if id.len() == 1 => {
            Ok((id[0] as u64, wnid.clone(), short(words)))
        }
        other => Err(format!("a synset with unexpected fields: {other:?}")),
    };
    ids.iter().zip(wnids).zip(words).map(one).collect()
}
