//! Tars of class folders, read without unpacking: `train/cat/1.jpg` with `val/cat/2.jpg`, or
//! `cat/1.jpg`; also inside one more folder.
//!
//! The result is the same as that of the unpacked folder. Where a list would be needed (flat
//! validation pictures), the tar has to be unpacked first.

use std::collections::{BTreeMap, HashMap};

use super::file_names::{ending, has_picture_name};
use super::foreign::unpack_tar;
use super::found::Tar;
use super::members::{self, Member};
use super::reading::{Location, Picture, Reading};
use super::{class_names, split_names, webdataset};
use crate::doubt::Instead;
use crate::{Error, Split};

/// The list that gives the classes their order.
const ORDER: &str = "classes.txt";
/// Most files that are named in a note.
const MOST_NAMED: usize = 3;

/// A member by its place: the split, the class, and the whole path for sorting.
#[derive(Debug)]
struct Placed {
    split: Split,
    class: String,
    path: Vec<String>,
    location: Location,
}

/// Returns true if each of these tars, which hold pictures without folders, is one class: they have
/// names of people instead of numbers.
pub(super) fn are_classes(tars: &[Tar]) -> bool {
    let is_word = |tar: &Tar| tar.split.is_none() && !tar.name.chars().any(|c| c.is_ascii_digit());
    tars.len() > 1 && tars.iter().all(is_word)
}

/// Reads tars of class folders; `None` if the pictures have labels beside them, which the first
/// members of a tar may not show.
pub(super) fn find(tars: &[Tar], mut reading: Reading) -> Result<Option<Reading>, Error> {
    reading.layout = "folders";
    let mut placed = Vec::new();
    let (mut pictures, mut labels) = (0, 0);
    let mut order = None;
    for tar in tars {
        let (number, archive) = reading.open_archive(&tar.path)?;
        let members = reading.list(members::Tar::whole(&archive));
        let is_label =
            |member: &&Member| ending(&member.name).is_some_and(|kind| webdataset::is_label(&kind));
        pictures += members.iter().filter(|member| has_picture_name(&member.name)).count();
        labels += members.iter().filter(is_label).count();
        let tree = Tree::of(&members);
        if order.is_none()
            && let Some(list) = members.iter().find(|member| tree.is_order(&member.name))
        {
            let bytes = archive.read(list.offset, list.length);
            let bytes = bytes.map_err(Error::io(&tar.path, "read"))?;
            order = Some((tar.path.join(&list.name), bytes));
        }
        place(&mut reading, tar, members, &tree, number, &mut placed);
    }
    if webdataset::are_samples(pictures, labels) {
        return Ok(None);
    }
    placed.sort_by(|a, b| (a.split, &a.path).cmp(&(b.split, &b.path)));
    let keys = placed.iter().map(|placed| placed.class.clone()).collect();
    match order {
        Some((path, list)) => class_names::in_order_of(&mut reading, keys, &path, &list)?,
        None => class_names::in_order_of_names(&mut reading, keys),
    }
    let labels: HashMap<String, u32> =
        reading.classes.iter().zip(0..).map(|((key, _), label)| (key.clone(), label)).collect();
    let mut splits: BTreeMap<Split, Vec<Picture>> = BTreeMap::new();
    for Placed { split, class, location, .. } in placed {
        let picture = Picture { label: labels[&class], location };
        splits.entry(split).or_default().push(picture);
    }
    reading.train = splits.remove(&Split::Train).unwrap_or_default();
    reading.val = splits.remove(&Split::Val);
    reading.test = splits.remove(&Split::Test);
    Ok(Some(reading))
}

/// The folders around the class folders of a tar.
#[derive(Debug, Default)]
struct Tree {
    /// Number of folders around everything.
    wrapped: usize,
    has_splits: bool,
}

impl Tree {
    fn of(members: &[Member]) -> Self {
        let pictures: Vec<Vec<&str>> = members
            .iter()
            .filter(|member| has_picture_name(&member.name))
            .map(|member| member.name.split('/').collect())
            .collect();
        let mut wrapped = 0;
        while let Some(first) = pictures.first().and_then(|path| path.get(wrapped)) {
            let same =
                |path: &Vec<&str>| path.len() > wrapped + 2 && path.get(wrapped) == Some(first);
            if split_names::plain_split(first).is_some() || !pictures.iter().all(same) {
                break;
            }
            wrapped += 1;
        }
        let split = |path: &Vec<&str>| {
            split_names::plain_split(path[wrapped.min(path.len() - 1)]).is_some()
        };
        // A folder named after a split that holds pictures beside other classes is a class.
        let (of_splits, others): (Vec<_>, Vec<_>) = pictures.iter().partition(|path| split(path));
        let deep = of_splits.iter().any(|path| path.len() > wrapped + 2);
        let has_splits = !of_splits.is_empty() && (deep || others.is_empty());
        Self { wrapped, has_splits }
    }

    fn is_order(&self, name: &str) -> bool {
        name.ends_with(ORDER) && name.split('/').count() == self.wrapped + 1
    }
}

/// Places the members of a tar; names those that have no class.
fn place(
    reading: &mut Reading,
    tar: &Tar,
    members: Vec<Member>,
    tree: &Tree,
    number: u32,
    placed: &mut Vec<Placed>,
) {
    let mut flat: BTreeMap<String, u64> = BTreeMap::new();
    let mut other = Vec::new();
    for member in members {
        let path: Vec<String> =
            member.name.split('/').skip(tree.wrapped).map(String::from).collect();
        let split = path.first().and_then(|name| split_names::plain_split(name));
        let depth = usize::from(tree.has_splits);
        let split = if tree.has_splits { split } else { tar.split.or(Some(Split::Train)) };
        match split {
            Some(split) if path.len() > depth + 1 => {
                let class = path[depth].clone();
                let path = path[depth..].to_vec();
                placed.push(Placed { split, class, path, location: member.location(number) });
            }
            _ if !has_picture_name(&member.name) => other.push(member.name),
            Some(_) if tree.has_splits => *flat.entry(path[0].clone()).or_default() += 1,
            _ => {
                reading.leave_out(format!("{}/{}", tar.name, member.name), "not in a class folder")
            }
        }
    }
    for (split, n) in flat {
        let command = unpack_tar(&tar.path);
        let why = format!(
            "{}: {n} pictures in {split} have no class folder; unpack the tar first, so that lists \
             beside it are read: `{command}`",
            tar.path.display()
        );
        reading.doubt(why, Some(Instead::Before(command)));
    }
    other.retain(|name| !name.ends_with(ORDER));
    if !other.is_empty() {
        let named = other.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", ");
        let more = if other.len() > MOST_NAMED { ", …" } else { "" };
        let n = other.len();
        reading.notes.push(format!("{}: {n} other files aren't used: {named}{more}", tar.name));
    }
}

#[cfg(test)]
mod tests;
