//! The words a recipe chooses from.

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

/// Forms of response normalization.
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
pub enum OpOrder {
    /// Activation, normalization, pooling.
    Paper,
    /// conv1: normalization, pooling, activation; conv5: pooling, activation.
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
pub enum Encoding {
    /// As they are.
    F32,
    /// As half floats, scaled by a power of two a tensor.
    F16,
}
