//! A run's knowledge of its pictures, as `run.json` keeps it.

use serde::{Deserialize, Serialize};

/// The data set of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataSet {
    /// Name, for people.
    pub name: String,
    /// Digest of pictures and labels; differs between any two data sets with different ones.
    pub digest: String,
    /// Side of the stored pictures, which are squares.
    pub side: u32,
    /// Class names in label order.
    pub classes: Vec<String>,
    /// Number of training images.
    pub n_train: u64,
    /// Number of validation images.
    pub n_val: u64,
    /// `[3][3]`: the principal color components, each times its standard deviation.
    pub colors: [f32; 9],
}
