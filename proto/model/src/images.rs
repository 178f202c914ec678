//! The images of a minibatch: the picture at each position, and the crop that is taken of it.
//!
//! Loaders make them, and workers check that they got them.

use crate::augment::{self, Sample, Variation};
use crate::shuffle;

/// The rule that chooses the image at a position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Images {
    /// Training: pictures of the endless shuffled stream, augmented.
    Training {
        /// Seed of the training run.
        seed: u64,
        /// Number of training pictures, at least one.
        n_train: u64,
        /// Ranges of augmentation.
        vary: Variation,
        /// Color components of the data set.
        colors: [[f32; 3]; 3],
    },
    /// Validation and test: pictures in stored order, in the test view of this number.
    InOrder {
        /// Test view (see [`augment::view`]).
        view: u32,
    },
}

impl Images {
    /// The number of the picture at position `g`, and its sample; `room` = side − crop.
    ///
    /// `None` if there is no such test view.
    pub fn at(&self, g: u64, room: usize) -> Option<(u64, Sample)> {
        match self {
            Self::Training { seed, n_train, vary, colors } => {
                let sample = augment::train(*seed, g, room, vary, colors);
                Some((shuffle::entry(*seed, *n_train, g).picture, sample))
            }
            Self::InOrder { view } => Some((g, augment::view(*view, room)?)),
        }
    }
}
