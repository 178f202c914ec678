//! The layout of a tree of folders: which folders are splits, and which are classes.
//!
//! ```text
//!   train/<class>/*, val/<class>/*, test/<class>/*     splits, by any of their names
//!   <class>/*                                          classes
//!   <class>/train/*, <class>/val/*                     splits in each class
//!   train/*, val/* and a list                          flat folders (see lists.rs)
//!   any of these inside one or more folders            wrapped
//! ```

use super::file_names::{self, Kind};
use super::split_names::{self, split_of};
use super::tree::{Id, Tree};
use crate::Split;

/// The folders of one split.
#[derive(Debug, Clone)]
pub(super) struct SplitFolder {
    pub(super) split: Split,
    pub(super) contents: Contents,
}

/// The contents of a split's folder.
#[derive(Debug, Clone)]
pub(super) enum Contents {
    /// A folder of class folders.
    Classes(Id),
    /// Single class folders, wherever they are, by class.
    Scattered(Vec<(String, Id)>),
    /// A folder of pictures without class folders.
    Flat(Id),
}

/// A layout that was recognized.
#[derive(Debug)]
pub(super) struct Layout {
    /// The folder that holds the splits or classes.
    pub(super) at: Id,
    pub(super) splits: Vec<SplitFolder>,
}

/// Reasons for which no layout, or not a sure one, was recognized.
#[derive(Debug)]
pub(super) enum Unsure {
    /// Several folders may be this split.
    Choice(Split, Vec<Id>),
    /// Folders that hold splits of their own lie beside other folders.
    DataSets(Vec<Id>),
    /// Validation or test pictures without training pictures.
    NoTraining(Vec<Id>),
    /// No folder with pictures.
    Nothing,
}

/// Recognizes the layout of a tree.
pub(super) fn recognize(tree: &Tree) -> Result<Layout, Unsure> {
    let mut at = 0;
    loop {
        if let Some(splits) = splits_in(tree, at)? {
            return Ok(Layout { at, splits });
        }
        let filled = tree.filled(at);
        match filled.as_slice() {
            [] if n_pictures(tree, at) > 0 => return Ok(flat(at)),
            [] => return Err(Unsure::Nothing),
            [only] if is_wrapper(tree, at, *only) => at = *only,
            _ => return classes(tree, at, &filled),
        }
    }
}

/// A folder of pictures alone. Whether a list names their classes is looked up later.
fn flat(at: Id) -> Layout {
    Layout { at, splits: vec![SplitFolder { split: Split::Train, contents: Contents::Flat(at) }] }
}

/// A folder of class folders without splits.
fn classes(tree: &Tree, at: Id, filled: &[Id]) -> Result<Layout, Unsure> {
    if let Some(splits) = splits_in_classes(tree, filled) {
        return Ok(Layout { at, splits });
    }
    let data_sets: Vec<Id> = filled.iter().copied().filter(|id| holds_splits(tree, *id)).collect();
    if !data_sets.is_empty() {
        return Err(Unsure::DataSets(data_sets));
    }
    let splits: Vec<Id> = filled.iter().copied().filter(|id| is_split(tree, *id)).collect();
    if !splits.is_empty() {
        return Err(Unsure::NoTraining(splits));
    }
    let contents = Contents::Classes(at);
    Ok(Layout { at, splits: vec![SplitFolder { split: Split::Train, contents }] })
}

/// Returns true if a folder, or one that it wraps, holds splits.
fn holds_splits(tree: &Tree, mut id: Id) -> bool {
    loop {
        if !matches!(splits_in(tree, id), Ok(None)) {
            return true;
        }
        match tree.filled(id)[..] {
            [only] if is_wrapper(tree, id, only) => id = only,
            _ => return false,
        }
    }
}

/// Returns true if a folder is named like a split and holds class folders.
fn is_split(tree: &Tree, id: Id) -> bool {
    split_of(&tree.folder(id).name).is_some() && matches!(contents(tree, id), Contents::Classes(_))
}

/// Splits that lie in a folder side by side; `None` if there is no training split among them.
fn splits_in(tree: &Tree, at: Id) -> Result<Option<Vec<SplitFolder>>, Unsure> {
    let mut named: Vec<(Split, Rank, Id)> = Vec::new();
    let mut others = 0;
    for (id, folder) in tree.in_folder(at) {
        match split_of(&folder.name) {
            Some((split, rest)) => named.push((split, Rank::of(&folder.name, rest), id)),
            None => others += usize::from(n_pictures(tree, id) > 0),
        }
    }
    let flat = |id| matches!(contents(tree, id), Contents::Flat(_));
    // A class may have the name of a split: pictures right in it, like those of the other classes.
    let trains = named.iter().filter(|(split, ..)| *split == Split::Train);
    if trains.clone().next().is_none() || (others > 0 && trains.clone().all(|t| flat(t.2))) {
        return Ok(None);
    }
    let mut splits = Vec::new();
    for split in [Split::Train, Split::Val, Split::Test] {
        let best = named.iter().filter(|n| n.0 == split).map(|n| &n.1).min();
        let same: Vec<Id> =
            named.iter().filter(|n| n.0 == split && Some(&n.1) == best).map(|n| n.2).collect();
        match same.as_slice() {
            [] => {}
            [id] => splits.push(SplitFolder { split, contents: contents(tree, *id) }),
            _ => return Err(Unsure::Choice(split, same)),
        }
    }
    Ok(Some(splits))
}

/// The likelihood that a folder is a split, the most likely first: `train`, then `train_images`,
/// then `seg_train`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank(bool, usize);

impl Rank {
    fn of(name: &str, rest: Vec<String>) -> Self {
        Self(!split_names::is_plain(name), rest.len())
    }
}

/// Splits inside of class folders: `cat/train/*`, `cat/val/*`.
fn splits_in_classes(tree: &Tree, filled: &[Id]) -> Option<Vec<SplitFolder>> {
    let mut splits: Vec<SplitFolder> = Vec::new();
    for class in filled {
        let inside = tree.filled(*class);
        if inside.is_empty() || n_pictures(tree, *class) > 0 {
            return None;
        }
        for id in inside {
            let (split, rest) = split_of(&tree.folder(id).name)?;
            if !rest.is_empty() || !matches!(contents(tree, id), Contents::Flat(_)) {
                return None;
            }
            let class = (tree.folder(*class).name.clone(), id);
            match splits.iter_mut().find(|s| s.split == split) {
                Some(SplitFolder { contents: Contents::Scattered(all), .. }) => all.push(class),
                _ => splits.push(SplitFolder { split, contents: Contents::Scattered(vec![class]) }),
            }
        }
    }
    splits.sort_by_key(|s| s.split);
    splits.first().is_some_and(|s| s.split == Split::Train).then_some(splits)
}

/// The contents of a folder that is a split, or is chosen as one.
pub(super) fn contents(tree: &Tree, id: Id) -> Contents {
    let id = unwrapped(tree, id);
    match tree.in_folder(id).next() {
        Some(_) => Contents::Classes(id),
        None => Contents::Flat(id),
    }
}

/// The innermost folder of one or more that only wrap each other: `train/train/<class>`,
/// `val/images/*`.
pub(super) fn unwrapped(tree: &Tree, mut id: Id) -> Id {
    while let [only] = tree.filled(id)[..]
        && is_wrapper(tree, id, only)
    {
        id = only;
    }
    id
}

/// Returns true if the only filled folder in a folder wraps the data, and isn't a class.
fn is_wrapper(tree: &Tree, at: Id, only: Id) -> bool {
    let name = |id: Id| tree.folder(id).name.as_str();
    let inside = tree.filled(only);
    n_pictures(tree, at) == 0
        && match inside.is_empty() {
            // Pictures right in it: a class, unless the name is `images` or another split's.
            true => split_names::is_neutral(name(only)) || split_of(name(only)).is_some(),
            // A class may sort its pictures into `images` or by years.
            false => !inside
                .iter()
                .all(|id| split_names::is_neutral(name(*id)) && tree.filled(*id).is_empty()),
        }
}

/// Files right in a folder that may be pictures.
pub(super) fn n_pictures(tree: &Tree, id: Id) -> usize {
    let files = tree.folder(id).files.iter();
    files.filter(|file| matches!(file_names::kind(&file.name()), Kind::Picture)).count()
}
