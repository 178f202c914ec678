//! Where pictures come from: a prepared data set or made-up ones, behind one face.

use crate::dataset::DataSet;
use crate::synthetic::Synthetic;
use crate::{DataSpec, Error};

/// The two parts of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// To learn from.
    Train,
    /// To measure with.
    Val,
}

impl Split {
    /// Its name in files and folders.
    pub const fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Val => "val",
        }
    }
}

/// What a network must know about its data.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// The data set's name.
    pub name: String,
    /// Two data sets with different pictures have different digests (SHA-256, hex).
    pub digest: String,
    /// Stored pictures are side × side.
    pub side: usize,
    /// Class names in label order, no two the same.
    pub classes: Vec<String>,
    /// Training pictures.
    pub n_train: u64,
    /// Validation pictures.
    pub n_val: u64,
    /// Mean of the training pictures: `[3, side, side]`, 0..255.
    pub mean: Vec<f32>,
    /// Principal components of the training pixels' colours, each times its standard deviation, in
    /// levels (0..255); largest first.
    pub colors: [[f32; 3]; 3],
}

impl Description {
    /// Pictures of a split.
    pub fn count(&self, split: Split) -> u64 {
        match split {
            Split::Train => self.n_train,
            Split::Val => self.n_val,
        }
    }
}

/// A set of labelled pictures that can be read at random.
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
