//! The classes of validation and test pictures: from the development kit's ground truth and
//! `meta.mat`, from Kaggle's `LOC_val_solution.csv`, or from a list of WordNet ids.

use crate::Split;
use crate::prepare::split_names;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::kit::{self, Synset};
use super::{Edition, SOLUTION};
use crate::Error;
use crate::prepare::Reading;
use crate::prepare::listing::entries;
use crate::prepare::system_names::passed_over;

const NAMES: &str = "LOC_synset_mapping.txt";
/// One WordNet id per validation picture of ILSVRC-2012, as TensorFlow's scripts use it.
const IDS: &str = "imagenet_2012_validation_synset_labels.txt";
const META: &str = "meta.mat";
const TRUTH: &str = "_ground_truth.txt";
/// Depth of folders in which lists are looked for, and most entries of such a folder.
const DEPTH: usize = 3;
const MOST_ENTRIES: usize = 200;

/// Classes of pictures that have no class folder, and names of classes.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// Files that classes were read from.
    pub(super) from: Vec<String>,
    /// Classes by picture name without extension.
    of_picture: HashMap<String, String>,
    /// Classes by the number in the picture's name, which counts from 1; by the name's beginning.
    of_number: HashMap<String, Vec<String>>,
    names: HashMap<String, String>,
    /// Classes that the training archive should have, with their numbers of pictures if known.
    pub(super) expected: BTreeMap<String, Option<u64>>,
}

/// The lists that were found, before they are understood.
#[derive(Debug, Default)]
struct Files {
    kits: Vec<PathBuf>,
    metas: Vec<PathBuf>,
    truths: Vec<PathBuf>,
    solution: Option<PathBuf>,
    names: Option<PathBuf>,
    ids: Option<PathBuf>,
}

impl Lists {
    /// Reads the lists in a folder and in the folders inside it; Kaggle's solution, which names
    /// pictures, takes precedence.
    pub(super) fn find(
        root: &Path,
        edition: &Edition,
        reading: &mut Reading,
    ) -> Result<Self, Error> {
        let mut files = Files::default();
        files.look(root, DEPTH)?;
        let mut lists = Self::default();
        let mut kit = kit::Kit::default();
        for path in &files.kits {
            reading.source_file(path);
            kit.unpack(path)?;
        }
        for path in files.metas.iter().chain(&files.truths) {
            reading.source_file(path);
            kit.add(path, std::fs::read(path).map_err(Error::io(path, "read"))?);
        }
        lists.read_kit(&kit, edition)?;
        if let Some(path) = &files.ids {
            reading.source_file(path);
            let text = std::fs::read_to_string(path).map_err(Error::io(path, "read"))?;
            let ids = text.split_whitespace().map(String::from).collect();
            lists.of_number.entry("ilsvrc2012_val_".into()).or_insert(ids);
            lists.from.push(IDS.into());
        }
        if let Some(path) = &files.solution {
            reading.source_file(path);
            lists.read_solution(path)?;
        }
        if let Some(path) = &files.names {
            reading.source_file(path);
            let text = std::fs::read_to_string(path).map_err(Error::io(path, "read"))?;
            let lines = text.trim_start_matches('\u{feff}').lines();
            let lines = lines.filter_map(|line| line.split_once(' '));
            lists.names.extend(lines.map(|(key, name)| (key.into(), kit::short(name))));
        }
        Ok(lists)
    }

    /// The classes that pictures whose names begin with `prefix` have.
    pub(super) fn classes(&self, split: Split) -> impl Iterator<Item = String> {
        let middle = middle(split);
        let numbered = self.of_number.iter().filter(move |(prefix, _)| prefix.ends_with(middle));
        let numbered = numbered.flat_map(|(_, classes)| classes);
        let named = self.of_picture.values().filter(move |_| split == Split::Val);
        named.chain(numbered).cloned()
    }

    /// Number of pictures of a split that the lists name; 0 if there is no list.
    pub(super) fn n_of(&self, split: Split) -> usize {
        let middle = middle(split);
        let numbered = self.of_number.iter().filter(|(prefix, _)| prefix.ends_with(middle));
        let numbered = numbered.map(|(_, classes)| classes.len()).max().unwrap_or(0);
        let named = if split == Split::Val { self.of_picture.len() } else { 0 };
        numbered.max(named)
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
        let digits = stem.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let number: usize = stem.get(digits..)?.parse().ok()?;
        let classes = self.of_number.get(&stem.get(..digits)?.to_lowercase())?;
        classes.get(number.checked_sub(1)?).map(String::as_str)
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
        self.from.push(SOLUTION.into());
        Ok(())
    }

    /// Takes the classes of the kit, and of ground truth that lies beside it.
    fn read_kit(&mut self, kit: &kit::Kit, edition: &Edition) -> Result<(), Error> {
        let mut by_year = HashMap::new();
        for (path, bytes) in &kit.metas {
            let (year, synsets) =
                kit::synsets(bytes).map_err(|why| Error::Layout { path: path.clone(), why })?;
            for synset in &synsets {
                self.names.insert(synset.wnid.clone(), synset.name.clone());
            }
            if edition.kit.is_empty() || edition.owns(&format!("{year}_")) {
                let leaves = synsets.iter().filter(|synset| synset.is_class);
                self.expected.extend(leaves.map(|synset| (synset.wnid.clone(), synset.n_train)));
            }
            by_year.insert(year, synsets);
        }
        for (path, bytes) in &kit.truths {
            self.read_truth(path, bytes, &by_year)?;
        }
        Ok(())
    }

    fn read_truth(
        &mut self,
        path: &Path,
        truth: &[u8],
        by_year: &HashMap<String, Vec<Synset>>,
    ) -> Result<(), Error> {
        let file = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let Some((year, kind)) = file.trim_end_matches(TRUTH).split_once('_') else {
            return Ok(());
        };
        let bad = |why: String| Error::Layout { path: path.into(), why };
        let Some(synsets) = by_year.get(year) else {
            let why = format!(
                "its numbers are classes of {META} in the development kit of \
                               {year}, which isn't there; put the kit beside it"
            );
            return Err(bad(why));
        };
        let class_of: HashMap<u64, &str> =
            synsets.iter().map(|synset| (synset.id, synset.wnid.as_str())).collect();
        let mut classes = Vec::new();
        for (line, number) in String::from_utf8_lossy(truth).split_whitespace().enumerate() {
            let class = number.parse().ok().and_then(|id: u64| class_of.get(&id));
            let Some(class) = class else {
                let line = line + 1;
                return Err(bad(format!("line {line}: {number:?} is no class's number in {META}")));
            };
            classes.push((*class).to_string());
        }
        let split = if kind.starts_with("test") { "test" } else { "val" };
        self.of_number.insert(format!("{year}_{split}_"), classes);
        self.from.push(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
        Ok(())
    }
}

fn middle(split: Split) -> &'static str {
    if split == Split::Test { "_test_" } else { "_val_" }
}

impl Files {
    fn look(&mut self, folder: &Path, depth: usize) -> Result<(), Error> {
        let entries = entries(folder)?;
        let few = entries.len() <= MOST_ENTRIES;
        for (name, path) in entries {
            if passed_over(&name).is_some() {
                continue;
            }
            if path.is_dir() {
                if few && depth > 0 && split_names::plain_split(&name).is_none() {
                    self.look(&path, depth - 1).ok(); // not a place for lists, then
                }
            } else if path.is_file() {
                self.file(&name, path);
            }
        }
        Ok(())
    }

    fn file(&mut self, name: &str, path: PathBuf) {
        let lower = name.to_lowercase();
        let is_archive = [".tar.gz", ".tgz", ".tar"].iter().any(|end| lower.ends_with(end));
        if lower.contains("devkit") && is_archive {
            self.kits.push(path);
        } else if lower == META {
            self.metas.push(path);
        } else if lower.starts_with("ilsvrc") && lower.ends_with(TRUTH) {
            self.truths.push(path);
        } else if name == SOLUTION {
            self.solution.get_or_insert(path);
        } else if name == NAMES {
            self.names.get_or_insert(path);
        } else if name == IDS {
            self.ids.get_or_insert(path);
        }
    }
}
