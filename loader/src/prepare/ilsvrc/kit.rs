//! The development kits of ILSVRC: classes and their numbers (`meta.mat`), and ground truth.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::prepare::matfile::{self, Value};

/// Upper bound for the length of a file of the kit, in bytes; the real ones have under 2 MB.
const LIMIT: u64 = 256 << 20;

/// The files of development kits, packed or not, that matter here.
#[derive(Debug, Default)]
pub(super) struct Kit {
    pub(super) metas: Vec<(PathBuf, Vec<u8>)>,
    pub(super) truths: Vec<(PathBuf, Vec<u8>)>,
}

/// A class, or a group of classes, of the kit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Synset {
    pub(super) id: u64,
    pub(super) wnid: String,
    pub(super) name: String,
    /// False for a group of other classes.
    pub(super) is_class: bool,
    pub(super) n_train: Option<u64>,
}

impl Kit {
    /// Takes a file of a kit by its name.
    pub(super) fn add(&mut self, path: &Path, bytes: Vec<u8>) {
        let is_meta = path.file_name().is_some_and(|name| name.eq_ignore_ascii_case("meta.mat"));
        let files = if is_meta { &mut self.metas } else { &mut self.truths };
        // The same kit may be there packed and unpacked.
        if !files.iter().any(|(_, known)| *known == bytes) {
            files.push((path.into(), bytes));
        }
    }

    /// Takes the files of a packed kit.
    pub(super) fn unpack(&mut self, path: &Path) -> Result<(), Error> {
        let [meta, truth] = self.members(path).map_err(|e| Error::Layout {
            path: path.into(),
            why: format!("it can't be unpacked: {e}; download the development kit again"),
        })?;
        if !meta || !truth {
            let why = "a development kit without meta.mat or without the ground truth of the \
                       validation pictures; download it again";
            return Err(Error::Layout { path: path.into(), why: why.into() });
        }
        Ok(())
    }

    /// Takes the members that matter; returns whether `meta.mat` and ground truth were there.
    fn members(&mut self, path: &Path) -> io::Result<[bool; 2]> {
        let mut found = [false; 2];
        let mut magic = [0; 2];
        let n = File::open(path)?.read(&mut magic)?;
        let file = File::open(path)?;
        let plain: Box<dyn Read> = match &magic[..n] {
            [0x1F, 0x8B] => Box::new(flate2::read::MultiGzDecoder::new(file)),
            _ => Box::new(file),
        };
        for entry in tar::Archive::new(plain).entries()? {
            let entry = entry?;
            let name = entry.path()?.into_owned();
            let base = name.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
            if base.starts_with("._") {
                continue;
            }
            if base == "meta.mat" || base.ends_with("_ground_truth.txt") {
                let mut bytes = Vec::new();
                entry.take(LIMIT).read_to_end(&mut bytes)?;
                found[usize::from(base != "meta.mat")] = true;
                self.add(&path.join(name), bytes);
            }
        }
        Ok(found)
    }
}

/// Shortens a class's names to the first: `tench, Tinca tinca` → `tench`.
pub(super) fn short(names: &str) -> String {
    names.split(',').next().unwrap_or(names).trim().into()
}

/// Reads edition (`ilsvrc2012`) and classes from `meta.mat`.
pub(super) fn synsets(meta: &[u8]) -> Result<(String, Vec<Synset>), String> {
    let variables = matfile::read(meta)?;
    let synsets = variables.into_iter().find_map(|(name, value)| match value {
        Value::Structs(fields) if name == "synsets" => Some(fields),
        _ => None,
    });
    let fields = synsets.ok_or("no structures named synsets in it")?;
    let values = |name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, values)| values);
    let needed = |name: &str| values(name).ok_or_else(|| format!("synsets without {name}"));
    let id_field = fields.iter().map(|(name, _)| name).find(|name| name.ends_with("_ID"));
    let id_field = id_field.ok_or("synsets without ILSVRC2012_ID or ILSVRC2010_ID")?;
    let (ids, wnids, words) = (needed(id_field)?, needed("WNID")?, needed("words")?);
    let optional = |name: &str, i: usize| match values(name).and_then(|values| values.get(i)) {
        Some(Value::Numbers(number)) => number.first().map(|number| *number as u64),
        _ => None,
    };
    let one = |i: usize| match (ids.get(i), wnids.get(i), words.get(i)) {
        (Some(Value::Numbers(id)), Some(Value::Text(wnid)), Some(Value::Text(words)))
            if id.len() == 1 =>
        {
            Ok(Synset {
                id: id[0] as u64,
                wnid: wnid.trim().into(),
                name: short(words),
                is_class: optional("num_children", i).unwrap_or(0) == 0,
                n_train: optional("num_train_images", i),
            })
        }
        _ => Err(format!("synset {} has no number, WordNet id or words", i + 1)),
    };
    let year = id_field.trim_end_matches("_ID").to_lowercase();
    Ok((year, (0..ids.len()).map(one).collect::<Result<_, _>>()?))
}
