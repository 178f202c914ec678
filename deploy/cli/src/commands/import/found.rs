//! The content of a file of weights: tensors under this program's names, and everything that the
//! file says about them.

use std::collections::BTreeMap;

use bytes::Bytes;
use coordinator::DataSet;
use model::params::Param;
use model::recipe::Recipe;

/// The program that wrote a file, which decides how its numbers are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// PyTorch's names, this program's meaning.
    PyTorch,
    /// Caffe: colors in the order blue, green, red; dropout scales in training.
    Caffe,
}

/// A tensor of floats.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    /// Shape as the file has it.
    pub(super) shape: Vec<usize>,
    /// Little-endian floats; `Err` with the element type if it is another one.
    pub(super) values: Result<Bytes, String>,
}

/// A mean image.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mean {
    /// Side of the stored pictures.
    pub(super) side: usize,
    /// `[3, side, side]`, RGB, 0..255.
    pub(super) values: Vec<f32>,
}

/// The content of a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    /// Program that wrote it.
    pub(super) origin: Origin,
    /// Tensors by name, such as `conv1.weight`; without the mean image.
    pub(super) tensors: BTreeMap<String, Tensor>,
    /// Mean image in the file.
    pub(super) mean: Option<Mean>,
    /// Recipe in the file, or the one that belongs to such files.
    pub(super) recipe: Option<Recipe>,
    /// Data set as the file describes it.
    pub(super) data_set: Option<DataSet>,
    /// Sentences for the person who imports.
    pub(super) notes: Vec<String>,
}

impl Found {
    /// A file of which nothing is known yet.
    pub(super) fn new(origin: Origin) -> Self {
        Self {
            origin,
            tensors: BTreeMap::new(),
            mean: None,
            recipe: None,
            data_set: None,
            notes: Vec::new(),
        }
    }

    /// The values of a parameter's own rows; its tensor has been checked.
    pub(super) fn rows(&self, param: &Param) -> Vec<u8> {
        let row = 4 * param.shape[1..].iter().product::<usize>();
        let values = self.tensors.get(&param.name).and_then(|tensor| tensor.values.as_ref().ok());
        let range = row * param.rows.start..row * param.rows.end;
        values.and_then(|values| values.get(range)).unwrap_or_default().to_vec()
    }
}
