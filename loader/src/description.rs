//! The properties of a data set, prepared or synthetic, that a network depends on.

/// One of the sets of pictures in a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Split {
    /// Pictures to learn from.
    Train,
    /// Pictures to measure with, never learned from.
    Val,
    /// Pictures of a third split, for a last measurement; workers never ask for them.
    Test,
}

impl Split {
    /// The name of this split in files and folders.
    pub const fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Val => "val",
            Split::Test => "test",
        }
    }
}

/// The properties of a data set that a network depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// The data set's name.
    pub name: String,
    /// SHA-256 in hex; data sets with different pictures have different digests.
    pub digest: String,
    /// Stored pictures are side × side.
    pub side: usize,
    /// Class names in label order, no two the same.
    pub classes: Vec<String>,
    /// Number of training pictures.
    pub n_train: u64,
    /// Number of validation pictures.
    pub n_val: u64,
    /// Number of test pictures.
    pub n_test: u64,
    /// Mean of the training pictures: `[3, side, side]`, 0..255.
    pub mean: Vec<f32>,
    /// Principal components of the training pixels' colors, each times its standard deviation, in
    /// levels (0..255); largest first.
    pub colors: [[f32; 3]; 3],
}

impl Description {
    /// Number of pictures in a split.
    pub fn count(&self, split: Split) -> u64 {
        match split {
            Split::Train => self.n_train,
            Split::Val => self.n_val,
            Split::Test => self.n_test,
        }
    }
}
