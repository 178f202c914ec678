//! Recognizes the layout of a source, and doubts it where it would become something else than was
//! probably meant.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::layout::{self, Layout, SplitFolder, Unsure};
use super::tree::{Id, Tree};
use super::{Instead, Options, Place, Reading, archives, folders};
use super::{class_names, file_names, split_names, system_names};
use crate::{Error, Split};

const KNOWN: &str = "not a known layout; expected one of: \
    train/<class>/* with val/<class>/* · <class>/* · \
    a folder of pictures with a list of their classes · \
    CIFAR-10's data_batch_*.bin · \
    ILSVRC2012_img_train.tar with ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz \
    (or LOC_val_solution.csv) · Kaggle's ILSVRC/Data/CLS-LOC · \
    WebDataset tars of key.jpg with key.cls or key.json";

/// Lists the pictures of `source`, whatever known layout it has.
pub(super) fn find(source: &Path, options: &Options) -> Result<Reading, Error> {
    let metadata = std::fs::metadata(source).map_err(Error::io(source, "open"))?;
    let mut reading = if metadata.is_file() {
        archives::find_file(source)?
    } else {
        match archives::find(source)? {
            Some(reading) => reading,
            None => in_folders(source, options)?,
        }
    };
    if reading.name.is_empty() {
        reading.name = name_of(source);
    }
    class_names::name_wordnet_ids(&mut reading.classes);
    choose_validation(&mut reading, options);
    doubt(&mut reading);
    if let [doubt] = &mut reading.doubts[..]
        && doubt.instead.is_none()
        && metadata.is_dir()
        && holds_pictures(source, false)
    {
        doubt.instead = level_above(source);
    }
    Ok(reading)
}

fn unknown(source: &Path) -> Error {
    Error::Layout { path: source.into(), why: KNOWN.into() }
}

/// Reads folders of pictures, or archives inside of folders that wrap them.
fn in_folders(source: &Path, options: &Options) -> Result<Reading, Error> {
    let mut reading = Reading { layout: "folders", root: source.into(), ..Reading::default() };
    let tree = Tree::read(source, &mut reading)?;
    reading.files = tree.source_files();
    let mut at = 0;
    while let Some(only) = tree.only_folder(at) {
        at = only;
        if let Some(archives) = archives::find(&tree.folder(at).path)? {
            return Ok(archives);
        }
    }
    match chosen(&tree, source, options)? {
        Ok(layout) => {
            if layout.at != 0 {
                let inside = tree.folder(layout.at).path.strip_prefix(source).unwrap_or(source);
                reading.notes.push(format!("the pictures are inside {}/", inside.display()));
            }
            let reading = folders::read(&tree, layout, reading)?;
            if reading.train.is_empty() && reading.doubts.is_empty() && reading.left_out.is_empty()
            {
                return Err(unknown(source));
            }
            Ok(reading)
        }
        Err(unsure) => {
            refuse(&mut reading, &tree, source, unsure)?;
            Ok(reading)
        }
    }
}

/// The layout that the options choose, or else the one that is recognized.
fn chosen(tree: &Tree, source: &Path, options: &Options) -> Result<Result<Layout, Unsure>, Error> {
    let folder = |place: &Place, setting| match place {
        Place::None => Ok(None),
        Place::Folder(path) => tree.find(path).map(Some).ok_or_else(|| Error::Setting {
            setting,
            why: format!(
                "there is no folder {} in {}, or it was passed over",
                path.display(),
                source.display()
            ),
        }),
    };
    let given = [
        (Split::Train, &options.train, "--train"),
        (Split::Val, &options.val, "--val"),
        (Split::Test, &options.test, "--test"),
    ];
    let mut given_splits: BTreeMap<Split, Option<Id>> = BTreeMap::new();
    for (split, place, setting) in given {
        if let Some(place) = place {
            given_splits.insert(split, folder(place, setting)?);
        }
    }
    let recognized = layout::recognize(tree);
    if given_splits.is_empty() {
        return Ok(recognized);
    }
    let mut layout = match (recognized, given_splits.get(&Split::Train)) {
        (_, Some(Some(_))) => Layout { at: 0, splits: Vec::new() },
        (Ok(layout), _) => layout,
        (Err(unsure), _) => return Ok(Err(unsure)),
    };
    for (split, id) in given_splits {
        layout.splits.retain(|old| old.split != split);
        if let Some(id) = id {
            layout.splits.push(SplitFolder { split, contents: layout::contents(tree, id) });
        }
    }
    layout.splits.sort_by_key(|split| split.split);
    Ok(Ok(layout))
}

/// Says why a layout isn't sure, and what was probably meant.
fn refuse(reading: &mut Reading, tree: &Tree, source: &Path, unsure: Unsure) -> Result<(), Error> {
    let below = |id: Id| {
        let path = &tree.folder(id).path;
        path.strip_prefix(source).unwrap_or(path).to_owned()
    };
    let list = |ids: &[Id]| {
        let names: Vec<String> =
            ids.iter().map(|id| format!("{}/", below(*id).display())).collect();
        names.join(", ")
    };
    match unsure {
        Unsure::Nothing => return Err(unknown(source)),
        Unsure::Choice(split, ids) => {
            let option = match split {
                Split::Train => "--train",
                Split::Val => "--val",
                Split::Test => "--test",
            };
            let first = below(ids[0]).display().to_string();
            reading.doubt(
                format!("any of {} may be the folder for {option}; choose one", list(&ids)),
                Some(Instead::Options(vec![option.into(), first])),
            );
        }
        Unsure::DataSets(ids) => reading.doubt(
            format!(
                "{} holds train and validation pictures of its own, beside other folders: it \
                 would become a class",
                list(&ids[..1])
            ),
            Some(Instead::Source(tree.folder(ids[0]).path.clone())),
        ),
        Unsure::NoTraining(ids) => {
            let others = tree.filled(tree.folder(ids[0]).parent.unwrap_or(0));
            let train = others.into_iter().find(|id| !ids.contains(id));
            let instead = train.map(|id| {
                Instead::Options(vec!["--train".into(), below(id).display().to_string()])
            });
            reading.doubt(
                format!(
                    "{} is named like a validation or test split and holds class folders, but \
                     there is no training split beside it; expected train/<class>/*",
                    list(&ids[..1])
                ),
                instead,
            );
        }
    }
    Ok(())
}

fn name_of(source: &Path) -> String {
    let whole = source.canonicalize().unwrap_or_else(|_| source.into());
    let name = whole.file_stem().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "data".into())
}

/// Takes test pictures for validation where there are no others, and drops a split that is empty.
fn choose_validation(reading: &mut Reading, options: &Options) {
    if options.val == Some(Place::None) {
        reading.val = None;
    }
    if reading.val.as_ref().is_some_and(Vec::is_empty) {
        reading.val = None;
        reading.notes.push(
            "the source has a place for validation pictures, but no usable picture in it".into(),
        );
    }
    if reading.test.as_ref().is_some_and(Vec::is_empty) {
        reading.test = None;
    }
    if reading.val.is_none() && options.val.is_none() && reading.test.is_some() {
        reading.val = reading.test.take();
        reading
            .notes
            .push("there is no validation split: the test pictures are used for it".into());
    }
}

/// Doubts a reading from which a network would learn something else than was meant.
fn doubt(reading: &mut Reading) {
    // CIFAR's labels have a fixed meaning: a part of its files is nothing to doubt.
    if !reading.doubts.is_empty() || reading.raw {
        return;
    }
    let trained: BTreeSet<u32> = reading.train.iter().map(|picture| picture.label).collect();
    let key = |label: &u32| reading.classes[*label as usize].0.clone();
    if let [only] = trained.iter().collect::<Vec<_>>()[..] {
        let why = format!(
            "only one class has training pictures: {}; a network learns to tell classes apart, so \
             two or more are expected, each in a folder of its own",
            key(only)
        );
        let is_split = split_names::split_of(&name_of(&reading.root)).is_some();
        let instead = is_split.then(|| level_above(&reading.root)).flatten();
        reading.doubt(why, instead);
        return;
    }
    let measured: BTreeSet<u32> =
        reading.val.iter().flatten().map(|picture| picture.label).collect();
    let unknown: Vec<u32> = measured.difference(&trained).copied().collect();
    if unknown.is_empty() {
        return;
    }
    let first: Vec<String> = unknown.iter().take(3).map(key).collect();
    let more = if unknown.len() > first.len() { ", …" } else { "" };
    let first = first.join(", ");
    if trained.is_disjoint(&measured) && !trained.is_empty() {
        let why = format!(
            "none of the {} classes of the validation pictures has training pictures \
             ({first}{more}): every answer would count as wrong",
            measured.len()
        );
        let instead = Instead::Options(vec!["--val".into(), "none".into()]);
        reading.doubt(why, Some(instead));
    } else {
        reading.notes.push(format!(
            "{} of {} classes with validation pictures have no training pictures: {first}{more}",
            unknown.len(),
            measured.len()
        ));
    }
}

/// The folder around a source, if that is one of several splits or class folders: the source is
/// probably one level too deep.
fn level_above(source: &Path) -> Option<Instead> {
    let whole = source.canonicalize().ok()?;
    let parent = whole.parent()?;
    let is_split = |name: &str| split_names::split_of(name).is_some();
    let own = is_split(&whole.file_name()?.to_string_lossy());
    let is_like_it = |entry: &std::fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        entry.path() != whole
            && is_split(&name) == own
            && system_names::passed_over(&name).is_none()
            && holds_pictures(&entry.path(), own)
    };
    let mut beside = std::fs::read_dir(parent).ok()?.filter_map(Result::ok);
    beside.find(is_like_it).map(|_| Instead::Source(parent.to_owned()))
}

/// Returns true if pictures lie right in a folder; or folders, if it is a split.
fn holds_pictures(folder: &Path, is_split: bool) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.take(1000).any(|entry| {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let name = entry.file_name().to_string_lossy().into_owned();
        (is_split && is_folder) || (!is_folder && file_names::has_picture_name(&name))
    })
}

#[cfg(test)]
mod tests;
