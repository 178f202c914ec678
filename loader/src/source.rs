//! The source of pictures: a prepared data set or made-up pictures, behind one interface.

use crate::config::DataSpec;
use crate::dataset::DataSet;
use crate::description::{Description, Split};
use crate::error::Error;
use crate::synthetic::Synthetic;

/// A set of labeled pictures that can be read at random.
#[derive(Debug)]
pub enum Source {
    /// Shards on disk.
    Prepared(Box<DataSet>),
    /// Made up.
    Synthetic(Box<Synthetic>),
}

impl Source {
    /// Opens a prepared folder, or makes `synthetic…` up (see [`DataSpec`]).
    ///
    /// # Errors
    /// As [`DataSet::open`].
    pub fn open(spec: &DataSpec) -> Result<Self, Error> {
        Ok(match spec {
            DataSpec::Folder(path) => Source::Prepared(Box::new(DataSet::open(path)?)),
            DataSpec::Synthetic(spec) => Source::Synthetic(Box::new(Synthetic::new(*spec)?)),
        })
    }

    /// What a network must know about it.
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
    /// [`Error::Damaged`] if what is on disk isn't what was written there.
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

/// Room for a picture as it is stored, kept from one to the next.
#[derive(Debug, Default)]
pub struct Scratch(Vec<u8>);
