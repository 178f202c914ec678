//! Every number of a training run, as data: batch, momentum, decay, when the rate drops.

use serde::{Deserialize, Serialize};

use crate::layer::Layer;

/// A training recipe; the default is the paper's text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
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
    /// Standard deviation of the colour shift's factors α (paper §4.1: 0.1); 0 = off.
    pub color_noise: f64,
    /// Epoch from which there is no colour noise; 0 = never.
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
    /// How often it may drop; when a plateau comes after the last drop, training ends.
    pub rate_drops: u32,
    /// `schedule = "plateau"`: evaluations without a better result before a drop.
    pub patience: u32,
    /// `schedule = "epochs"`: the epochs at whose start it drops.
    pub rate_epochs: Vec<u64>,
    /// `schedule = "halve"`: epochs between two drops (also drops on a plateau of the loss).
    pub halve_every: u64,
    /// Epochs to train.
    pub epochs: u64,
    /// Activation after each layer but the last.
    pub activation: Activation,
    /// Response normalisation.
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
    pub order: Order,
    /// How weights start.
    pub init: Init,
    /// `init = "fixed"`: standard deviation of all weights that have no other.
    pub weight_std: f64,
    /// Standard deviation by layer, where it differs.
    pub weight_stds: std::collections::BTreeMap<String, f64>,
    /// Initial biases by layer; 0 for the others.
    pub biases: std::collections::BTreeMap<String, f64>,
    /// Slices a minibatch is worked in.
    pub slices: usize,
    /// How activations and gradients travel.
    pub wire: Wire,
}

/// The network tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkName {
    /// [`crate::alexnet::ALEXNET`], or its one-column form.
    Alexnet,
    /// [`crate::cifar::CIFAR10`].
    Cifar10,
}

/// When the rate drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Never.
    Constant,
    /// When the validation error stops improving (paper §5).
    Plateau,
    /// At given epochs (the authors' log).
    Epochs,
    /// Every `halve_every` epochs, or when the validation loss stops improving.
    Halve,
}

/// Activation functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// max(0, x), paper §3.1.
    Relu,
    /// The comparison of Figure 1.
    Tanh,
}

/// Forms of response normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lrn {
    /// Off.
    None,
    /// α times the plain sum of squares: the paper's formula.
    Paper,
    /// α/n times it: what the authors' program, Caffe and PyTorch compute.
    Original,
}

/// Order of the operations after a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Activation, normalisation, pooling.
    Paper,
    /// conv1: normalisation, pooling, activation; conv5: pooling, activation.
    AsRun,
}

/// How weights start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// Normal with a fixed deviation a layer.
    Fixed,
    /// Normal with deviation √(2 / fan-in).
    FanIn,
}

/// How activations and gradients travel between the halves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wire {
    /// As they are.
    F32,
    /// As half floats, scaled by a power of two a tensor.
    F16,
}

impl Default for Recipe {
    fn default() -> Self {
        let biases = ["conv2", "conv4", "conv5", "fc6", "fc7"];
        Self {
            name: "paper".into(),
            network: NetworkName::Alexnet,
            columns: 2,
            width: 1.0,
            classes: 0,
            crop: 224,
            crop_offsets: 32,
            flip: true,
            color_noise: 0.1,
            color_noise_until: 0,
            batch: 128,
            rate: 0.01,
            bias_rate: 1.0,
            bias_rate_drops: true,
            momentum: 0.9,
            decay: 0.0005,
            decay_biases: true,
            decay_softmax: true,
            dropout: 0.5,
            schedule: Schedule::Plateau,
            rate_factor: 0.1,
            rate_drops: 3,
            patience: 3,
            rate_epochs: Vec::new(),
            halve_every: 8,
            epochs: 90,
            activation: Activation::Relu,
            lrn: Lrn::Paper,
            lrn_size: 5,
            lrn_k: 2.0,
            lrn_alpha: 1e-4,
            lrn_beta: 0.75,
            pool_size: 3,
            pool_stride: 2,
            order: Order::Paper,
            init: Init::Fixed,
            weight_std: 0.01,
            weight_stds: std::collections::BTreeMap::new(),
            biases: biases.iter().map(|name| ((*name).to_string(), 1.0)).collect(),
            slices: 4,
            wire: Wire::F32,
        }
    }
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

    /// Standard deviation of a layer's initial weights.
    pub fn weight_std_of(&self, layer: &str) -> f64 {
        self.weight_stds.get(layer).copied().unwrap_or(self.weight_std)
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

/// Why a recipe can't be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RecipeError {
    /// TOML that doesn't fit.
    #[error("{0}")]
    Toml(String),
}

impl Recipe {
    /// Reads a whole recipe.
    ///
    /// # Errors
    /// [`RecipeError`] on unknown keys and impossible values.
    pub fn from_toml(toml: &str) -> Result<Self, RecipeError> {
        toml::from_str(toml).map_err(|e| RecipeError::Toml(e.to_string()))
    }
}
