//! The numbers of a training run as data: batch, momentum, decay, schedule of the learning rate.
//!
//! The numbers themselves are in `recipes/*.toml`; this module defines their meaning.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod builtin; // the recipes that come with the program
mod layers; // the layers of the network that a recipe trains
mod choices; // the values of keys that name a choice
mod text; // TOML and `key=value` ⇄ recipe
mod written; // changes written into a text with comments
mod check; // impossible values
mod schedule; // epoch → rate, color noise
mod error; // recipes that can't be used

pub use builtin::summary;
pub use choices::{Activation, Encoding, Init, Lrn, MeanPart, NetworkName, OpOrder, Schedule};
pub use error::RecipeError;

/// A training recipe; the default is the paper's text (`recipes/paper.toml`).
///
/// ```
/// use model::recipe::Recipe;
///
/// let mut recipe = Recipe::from_toml("name = \"mine\"\nbatch = 64")?;
/// recipe.set_all(["dropout=0.3"])?;
/// assert_eq!((recipe.batch, recipe.dropout), (64, 0.3));
/// assert!(recipe.set_all(["dropuot=0.3"]).is_err(), "a misspelled key is refused");
/// # Ok::<(), model::recipe::RecipeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Name of the recipe, as in run directories.
    pub name: String,
    /// Network table.
    pub network: NetworkName,
    /// Number of columns: 2 as in the paper, or 1 for its half-width comparison in one process.
    pub columns: usize,
    /// Factor on the number of maps of every layer but the last.
    pub width: f64,
    /// Number of classes; 0 = as many as the data set has.
    pub classes: usize,
    /// Layers that are left out.
    pub without: Vec<String>,
    /// Layers that read only their own half's maps, although the table lets them read both.
    pub unlinked: Vec<String>,
    /// True to add a sixth convolution, which reads conv5's pooled maps.
    pub conv6: bool,
    /// Side of the crop that the network sees, in pixels.
    pub crop: usize,
    /// Number of crop positions in each direction; 0 = all that the picture allows, 1 = the center.
    pub crop_offsets: usize,
    /// Whether half of the crops are mirrored.
    pub flip: bool,
    /// Part of the mean image that is subtracted from a crop.
    pub mean: MeanPart,
    /// Standard deviation of the color shift's factors α (paper §4.1: 0.1); 0 = off.
    pub color_noise: f64,
    /// Number of epochs after which color noise is switched off; 0 = never.
    pub color_noise_until: u64,
    /// Images per step.
    pub batch: usize,
    /// Initial learning rate.
    pub rate: f64,
    /// Factor on the learning rate of biases.
    pub bias_rate: f64,
    /// Whether the learning rate of biases drops with that of weights.
    pub bias_rate_drops: bool,
    /// Factor on the learning rate by layer or parameter, such as `fc7` or `fc7.weight`; 1 for the
    /// others, and 0 to freeze.
    pub rates: BTreeMap<String, f64>,
    /// Momentum of the update.
    pub momentum: f64,
    /// Weight decay.
    pub decay: f64,
    /// Factor on weight decay by layer or parameter; 1 for the others.
    pub decays: BTreeMap<String, f64>,
    /// Whether biases decay too.
    pub decay_biases: bool,
    /// Whether the last layer's weights decay too.
    pub decay_softmax: bool,
    /// Probability that dropout sets a unit to zero; 0 = off.
    pub dropout: f64,
    /// Schedule of the learning rate.
    pub schedule: Schedule,
    /// Factor applied to the learning rate at each drop.
    pub rate_factor: f64,
    /// `schedule = "plateau"`: number of drops; a plateau after the last drop ends training.
    pub rate_drops: u32,
    /// Number of evaluations without improvement that make a plateau.
    pub patience: u32,
    /// `schedule = "epochs"`: the rate drops when these numbers of epochs are done.
    pub rate_epochs: Vec<u64>,
    /// `schedule = "halve"`: epochs between two drops; a plateau of the loss also causes a drop.
    pub halve_every: u64,
    /// Number of epochs to train.
    pub epochs: u64,
    /// Activation after each layer but the last.
    pub activation: Activation,
    /// Form of response normalization (LRN).
    pub lrn: Lrn,
    /// LRN window width n, in adjacent maps.
    pub lrn_size: usize,
    /// LRN constant k.
    pub lrn_k: f64,
    /// LRN factor α.
    pub lrn_alpha: f64,
    /// LRN exponent β.
    pub lrn_beta: f64,
    /// Side of the pooling windows.
    pub pool_size: usize,
    /// Distance between neighboring pooling windows.
    pub pool_stride: usize,
    /// Order of the operations after a pre-activation.
    pub order: OpOrder,
    /// Rule for the standard deviation of initial weights.
    pub init: Init,
    /// `init = "fixed"`: standard deviation of weights that are not in `weight_stds`.
    pub weight_std: f64,
    /// Standard deviation of initial weights by layer, where it differs from `init`.
    pub weight_stds: BTreeMap<String, f64>,
    /// Initial biases by layer; 0 for the others.
    pub biases: BTreeMap<String, f64>,
    /// Number of micro-batches per minibatch.
    pub slices: usize,
    /// Encoding of activations and gradients that the halves exchange.
    pub wire: Encoding,
}

impl Recipe {
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

    /// Factor on the learning rate of a parameter, such as `fc7.weight`.
    pub fn rate_factor_of(&self, param: &str) -> f64 {
        factor_of(&self.rates, param)
    }

    /// Weight decay of a parameter, before the exemptions of biases and of the last layer.
    pub fn decay_of(&self, param: &str) -> f64 {
        self.decay * factor_of(&self.decays, param)
    }

    /// Factor α as applied to the plain sum of squares.
    pub fn lrn_alpha_on_sum(&self) -> f64 {
        match self.lrn {
            Lrn::Original => self.lrn_alpha / self.lrn_size as f64,
            Lrn::Paper | Lrn::None => self.lrn_alpha,
        }
    }
}

/// The factor of a parameter; its own one counts before that of its layer.
fn factor_of(factors: &BTreeMap<String, f64>, param: &str) -> f64 {
    let layer = param.split_once('.').map_or(param, |(layer, _)| layer);
    factors.get(param).or_else(|| factors.get(layer)).copied().unwrap_or(1.0)
}
