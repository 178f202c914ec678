//! The kind of pictures that a tar holds, from its first members.

use crate::prepare::archive::Archive;
use crate::prepare::file_names::{ending, has_picture_name};
use crate::prepare::system_names::passed_over_path;
use crate::prepare::tarfile::{Fault, Kind, walk};
use crate::prepare::webdataset;

/// Most files of a tar that are looked at.
const MOST: usize = 400;

/// The contents of a tar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// More tars: one per class.
    Tars,
    /// Pictures with labels of the same key beside them.
    Samples,
    /// Pictures in folders.
    Folders,
    /// Pictures without folders or labels.
    Pictures,
    /// No picture among the first files.
    Other,
}

impl Shape {
    /// Looks at the first files of a tar.
    pub(super) fn of(archive: &Archive) -> Result<Self, Fault> {
        let (mut files, mut tars, mut labels, mut inside, mut flat) = (0, 0, 0, 0, 0);
        let result = walk(archive, 0, archive.bytes, &mut |entry| {
            let is_file = matches!(entry.kind, Kind::File | Kind::Cut | Kind::HardLink(_));
            if !is_file || passed_over_path(&entry.name).is_some() {
                return true;
            }
            files += 1;
            match ending(&entry.name).as_deref() {
                Some("tar") => tars += 1,
                Some(_) if has_picture_name(&entry.name) => {
                    *if entry.name.contains('/') { &mut inside } else { &mut flat } += 1;
                }
                Some(kind) if webdataset::is_label(kind) => labels += 1,
                _ => {}
            }
            files < MOST
        });
        let pictures = inside + flat;
        let shape = match (tars, pictures, labels) {
            (0, 0, 0) => Self::Other,
            (tars, pictures, _) if tars > pictures => Self::Tars,
            (_, pictures, labels) if webdataset::are_samples(pictures, labels) => Self::Samples,
            _ if inside > flat => Self::Folders,
            _ => Self::Pictures,
        };
        match result {
            // A tar that is cut short or damaged later is read as far as possible.
            Err(Fault::Damaged(why)) if files == 0 => Err(Fault::Damaged(why)),
            Err(fault) if shape == Self::Other => Err(fault),
            _ => Ok(shape),
        }
    }

    /// The shape of several tars: that of most of them.
    pub(super) fn of_all(shapes: &[Self]) -> Self {
        let n = |shape: Self| shapes.iter().filter(|other| **other == shape).count();
        let all = [Self::Other, Self::Pictures, Self::Folders, Self::Samples, Self::Tars];
        all.into_iter().max_by_key(|shape| n(*shape)).unwrap_or(Self::Other)
    }
}
