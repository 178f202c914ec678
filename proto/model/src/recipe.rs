//! Every number of a training run, as data: batch, momentum, decay, when the rate drops.
//!
//! The numbers themselves are in `recipes/*.toml`; this is what they mean.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::layer::Layer;

mod builtin; // the recipes that come with the program
mod words;
mod text; // TOML and `key=value` → recipe, and back
mod check; // what is impossible
mod schedule; // epoch → rate, color noise
mod error;

pub use error::RecipeError;
pub use words::{Activation, Encoding, Init, Lrn, NetworkName, OpOrder, Schedule};

/// A training recipe; the default is the paper's text (`recipes/paper.toml`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Its name, as in run directories.
    pub name: String,
    /// Which table.
    pub network: NetworkName,
    /// 2: the paper's two columns; 1: its half-width comparison, one process.
    pub columns: usize,
    /// Factor on the maps of every layer but the last.
    pub width: f64,
    /// Classes; 0 = as many as the data set has.
    pub classes: usize,
    /// Side of the crop that the network sees.
    pub crop: usize,
    /// Crops start at `0..crop_offsets` in each direction; 0 = everywhere the picture allows.
    pub crop_offsets: usize,
    /// Whether half of the crops are mirrored.
    pub flip: bool,
    /// Standard deviation of the color shift's factors α (paper §4.1: 0.1); 0 = off.
    pub color_noise: f64,
    /// There is no more color noise when this many epochs are done; 0 = always.
    pub color_noise_until: u64,
    /// Images a step.
    pub batch: usize,
    /// Learning rate at the start.
    pub rate: f64,
    /// Factor on the rate of biases.
    pub bias_rate: f64,
    /// Whether the rate of biases drops with the others.
    pub bias_rate_drops: bool,
    /// Momentum.
    pub momentum: f64,
    /// Weight decay.
    pub decay: f64,
    /// Whether biases decay too.
    pub decay_biases: bool,
    /// Whether the last layer's weights decay too.
    pub decay_softmax: bool,
    /// Probability that dropout silences a unit; 0 = off.
    pub dropout: f64,
    /// When the rate drops.
    pub schedule: Schedule,
    /// What it is multiplied by.
    pub rate_factor: f64,
    /// `schedule = "plateau"`: how often it may drop; a plateau after the last drop ends training.
    pub rate_drops: u32,
    /// Evaluations without a better result that make a plateau.
    pub patience: u32,
    /// `schedule = "epochs"`: it drops when this many epochs are done.
    pub rate_epochs: Vec<u64>,
    /// `schedule = "halve"`: epochs between two drops (also drops on a plateau of the loss).
    pub halve_every: u64,
    /// Epochs to train.
    pub epochs: u64,
    /// Activation after each layer but the last.
    pub activation: Activation,
    /// Response normalization.
    pub lrn: Lrn,
    /// Its window, in maps.
    pub lrn_size: usize,
    /// Its k.
    pub lrn_k: f64,
    /// Its α.
    pub lrn_alpha: f64,
    /// Its β.
    pub lrn_beta: f64,
    /// Side of the pooling windows.
    pub pool_size: usize,
    /// Distance between them.
    pub pool_stride: usize,
    /// Order of the operations after a sum.
    pub order: OpOrder,
    /// How weights start.
    pub init: Init,
    /// `init = "fixed"`: standard deviation of all weights that have no other.
    pub weight_std: f64,
    /// Standard deviation by layer, where it differs from what `init` says.
    pub weight_stds: BTreeMap<String, f64>,
    /// Initial biases by layer; 0 for the others.
    pub biases: BTreeMap<String, f64>,
    /// Slices a minibatch is worked in.
    pub slices: usize,
    /// How activations and gradients travel.
    pub wire: Encoding,
}

impl Recipe {
    /// The rows of the network.
    pub fn table(&self) -> &'static [Layer] {
        match (self.network, self.columns) {
            (NetworkName::Alexnet, 1) => &crate::alexnet::ONE_COLUMN,
            (NetworkName::Alexnet, _) => &crate::alexnet::ALEXNET,
            (NetworkName::Cifar10, _) => &crate::cifar::CIFAR10,
        }
    }

    /// Standard deviation of the initial weights of a layer whose outputs have `fan_in` inputs.
    pub fn weight_std_of(&self, layer: &str, fan_in: usize) -> f64 {
        let usual = match self.init {
            Init::Fixed => self.weight_std,
            Init::FanIn => (2.0 / fan_in as f64).sqrt(),
        };
        self.weight_stds.get(layer).copied().unwrap_or(usual)
    }

    /// Initial value of a layer's biases.
    pub fn bias_of(&self, layer: &str) -> f32 {
        self.biases.get(layer).copied().unwrap_or(0.0) as f32
    }

    /// α on the plain sum of squares.
    pub fn lrn_alpha_on_sum(&self) -> f64 {
        match self.lrn {
            Lrn::Original => self.lrn_alpha / self.lrn_size as f64,
            Lrn::Paper | Lrn::None => self.lrn_alpha,
        }
    }
}
