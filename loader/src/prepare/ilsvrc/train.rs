//! The training pictures of each class: in a tar inside the archive, in a tar, or in a folder.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

use super::pieces::Pieces;
use crate::Error;
use crate::prepare::members::{Repeated, Tar};
use crate::prepare::{Archive, Location, Picture, Reading, folders, foreign};

/// The place of a class's pictures.
#[derive(Debug)]
pub(super) enum ClassPictures {
    /// A tar inside an archive: number of the archive, name, position and length.
    Inside {
        archive: u32,
        name: String,
        start: u64,
        length: u64,
    },
    Tar(PathBuf),
    Folder(PathBuf),
}

/// Finds the places of all classes' training pictures.
pub(super) fn classes(
    reading: &mut Reading,
    pieces: &Pieces,
) -> Result<BTreeMap<String, ClassPictures>, Error> {
    let mut classes = BTreeMap::new();
    for path in &pieces.train {
        inside(reading, path, &mut classes)?;
    }
    let mut other = 0;
    for tar in &pieces.class_tars {
        let class = tar.name[..tar.name.len() - ".tar".len()].to_string();
        match classes.entry(class) {
            Entry::Occupied(_) => other += 1,
            Entry::Vacant(free) => _ = free.insert(ClassPictures::Tar(tar.path.clone())),
        }
    }
    for (class, path) in &pieces.class_folders {
        match classes.entry(class.clone()) {
            Entry::Occupied(_) => other += 1,
            Entry::Vacant(free) => _ = free.insert(ClassPictures::Folder(path.clone())),
        }
    }
    say(reading, pieces, other, &classes);
    Ok(classes)
}

/// Says which of several copies of the classes is read.
fn say(
    reading: &mut Reading,
    pieces: &Pieces,
    other: u64,
    classes: &BTreeMap<String, ClassPictures>,
) {
    if other > 0 {
        reading.notes.push(format!(
            "{other} classes are there both packed and unpacked; the packed ones are read"
        ));
    }
    let n = |is: fn(&ClassPictures) -> bool| classes.values().filter(|place| is(place)).count();
    let folders = n(|place| matches!(place, ClassPictures::Folder(_)));
    let packed = classes.len() - folders;
    if folders > 0 && packed > 0 {
        reading.notes.push(format!(
            "{packed} classes are read from tars and {folders} from folders: the training \
             pictures are partly unpacked"
        ));
    }
    if classes.is_empty() {
        let wanted = pieces.edition.archive(super::Split::Train);
        let why = format!("there are no training pictures; put {wanted} into this folder");
        reading.doubt(why, None);
    }
}

fn inside(
    reading: &mut Reading,
    path: &Path,
    classes: &mut BTreeMap<String, ClassPictures>,
) -> Result<(), Error> {
    if let Some(doubt) = foreign::doubt(path) {
        reading.doubts.push(doubt);
        reading.source_file(path);
        return Ok(());
    }
    let (number, archive) = reading.open_archive(path)?;
    let mut n_tars = 0;
    for member in reading.list(Tar::whole(&archive)) {
        let class = member.base().strip_suffix(".tar").map(str::to_string);
        let Some(class) = class else {
            reading.leave_out(format!("{}/{}", archive.name, member.name), "not a class's tar");
            continue;
        };
        n_tars += 1;
        let name = member.base().to_string();
        let (start, length) = (member.offset, member.length);
        let place = ClassPictures::Inside { archive: number, name, start, length };
        if classes.insert(class.clone(), place).is_some() {
            let why = format!("the class {class} comes twice; the last tar is read");
            reading.leave_out(format!("{}/{class}.tar", archive.name), why);
        }
    }
    if n_tars == 0 {
        let why = format!("{}: no class's tar in it; expected one tar per class", path.display());
        reading.doubt_partial(why);
    }
    Ok(())
}

impl ClassPictures {
    /// Lists the pictures of a class.
    pub(super) fn list(self, reading: &mut Reading, label: u32) -> Result<(), Error> {
        match self {
            Self::Inside { archive: number, name, start, length } => {
                let archive = reading.archives[number as usize].clone();
                let full = format!("{}/{name}", archive.name);
                let repeated = Repeated::LastWins;
                let tar = Tar { archive: &archive, name: &full, start, length, repeated };
                tar_pictures(reading, tar, number, &format!("{name}/"), label);
            }
            Self::Tar(path) => {
                if let Some(doubt) = foreign::doubt(&path) {
                    reading.doubts.push(doubt);
                    reading.source_file(&path);
                    return Ok(());
                }
                let (number, archive): (u32, Archive) = reading.open_archive(&path)?;
                tar_pictures(reading, Tar::whole(&archive), number, "", label);
            }
            Self::Folder(path) => {
                let files = folders::below(reading, &path)?.into_iter();
                let picture = |file| Picture { label, location: Location::File(file) };
                reading.train.extend(files.map(picture));
            }
        }
        Ok(())
    }
}

fn tar_pictures(reading: &mut Reading, tar: Tar<'_>, archive: u32, prefix: &str, label: u32) {
    for mut member in reading.list(tar) {
        member.name.insert_str(0, prefix);
        reading.train.push(Picture { label, location: member.location(archive) });
    }
}
