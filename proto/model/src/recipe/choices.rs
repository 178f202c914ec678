//! The choices of a recipe: enums whose variants are written as words.

use serde::{Deserialize, Serialize};

/// The network tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkName {
    /// [`crate::alexnet::ALEXNET`], or its one-column form.
    Alexnet,
    /// [`crate::cifar::CIFAR10`].
    Cifar10,
}

/// Schedules of the learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// The rate never drops.
    Constant,
    /// The rate drops when the validation error stops improving (paper §5).
    Plateau,
    /// The rate drops at given epochs (the authors' log).
    Epochs,
    /// The rate drops every `halve_every` epochs, or when the validation loss stops improving.
    Halve,
}

/// Activation functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// ReLU: max(0, x), paper §3.1.
    Relu,
    /// Hyperbolic tangent: the comparison of Figure 1.
    Tanh,
}

/// Forms of response normalization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lrn {
    /// No normalization.
    None,
    /// α times the plain sum of squares: the paper's formula.
    Paper,
    /// α/n times the sum of squares, as in the authors' program, Caffe and PyTorch.
    Original,
}

/// Orders of the operations after a pre-activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OpOrder {
    /// Activation, normalization, pooling.
    Paper,
    /// conv1: normalization, pooling, activation; conv5: pooling, activation.
    AsRun,
}

/// Parts of the mean image that are subtracted from a crop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MeanPart {
    /// For each pixel the mean of its own place in the stored picture.
    Place,
    /// The center, wherever the crop lies, and the same for a mirrored one: the authors' program.
    Center,
}

/// Rules for the standard deviation of initial weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// A fixed standard deviation per layer.
    Fixed,
    /// The standard deviation √(2 / fan-in).
    FanIn,
}

/// Encodings of the activations and gradients that the halves exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// 32-bit floats.
    F32,
    /// 16-bit floats, scaled by one power of two per tensor.
    F16,
}
