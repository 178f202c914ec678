//! The source of pictures: a prepared data set or synthetic pictures, behind one interface.

use crate::config::DataSpec;
use crate::dataset::DataSet;
use crate::description::{Description, Split};
use crate::error::Error;
use crate::synthetic::Synthetic;

/// A set of labeled pictures that can be read at random.
#[derive(Debug)]
pub enum Source {
    /// A prepared data set on disk.
    Prepared(Box<DataSet>),
    /// Synthetic pictures.
    Synthetic(Box<Synthetic>),
}

impl Source {
    /// Opens a prepared folder or synthetic pictures.
    ///
    /// # Errors
    /// As [`DataSet::open`].
    pub fn open(spec: &DataSpec) -> Result<Self, Error> {
        Ok(match spec {
            DataSpec::Folder(path) => Source::Prepared(Box::new(DataSet::open(path)?)),
            DataSpec::Synthetic(spec) => Source::Synthetic(Box::new(Synthetic::new(*spec)?)),
        })
    }

    /// The properties of these pictures that a network depends on.
    pub fn describe(&self) -> &Description {
        match self {
            Source::Prepared(data) => data.describe(),
            Source::Synthetic(data) => data.describe(),
        }
    }

    /// Reads one picture into `pixels` (`[side, side, 3]`) and returns its label.
    ///
    /// `index` must be below the split's count.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the bytes on disk are not those that were written.
    pub fn read(
        &self,
        split: Split,
        index: u64,
        scratch: &mut Scratch,
        pixels: &mut Vec<u8>,
    ) -> Result<u32, Error> {
        match self {
            Source::Prepared(data) => data.read(split, index, &mut scratch.0, pixels),
            Source::Synthetic(data) => Ok(data.read(split, index, pixels)),
        }
    }
}

/// A buffer for a stored picture, reused from one picture to the next.
#[derive(Debug, Default)]
pub struct Scratch(Vec<u8>);
