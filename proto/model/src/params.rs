//! Name, shape and initial value of every weight and bias.

use std::ops::Range;

use crate::layer::Kind;
use crate::random::{Purpose, Random};
use crate::recipe::Recipe;
use crate::shape::LayerSizes;

/// The distribution of a parameter's initial values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Start {
    /// Normal with mean 0 and this standard deviation (paper §5: 0.01).
    Normal(f64),
    /// One value everywhere.
    Constant(f32),
}

/// One tensor of weights or biases, as one process holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Name, such as `conv1.weight` or `fc8.bias`.
    pub name: String,
    /// Shape in this process: `[maps, inputs, kernel, kernel]`, `[units, inputs]` or `[maps]`.
    pub shape: Vec<usize>,
    /// Rows of the whole tensor that this process owns.
    pub rows: Range<usize>,
    /// Number of rows of the whole tensor.
    pub of_rows: usize,
    /// Distribution of the initial values.
    pub start: Start,
    /// Whether this tensor holds biases.
    pub is_bias: bool,
    /// Random stream of the initial values: 2 × layer number, plus 1 for biases.
    pub stream: u32,
}

impl Param {
    /// Number of values that this process owns.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether this process owns no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The initial values of this process's rows.
    ///
    /// Each value is a pure function of the seed and its position in the *whole* tensor, so that
    /// the halves and the whole network start with the same weights.
    pub fn initial(&self, seed: u64) -> Vec<f32> {
        match self.start {
            Start::Constant(value) => vec![value; self.len()],
            Start::Normal(std) => {
                let row: usize = self.shape[1..].iter().product();
                let from = (self.rows.start * row) as u64;
                let mut values = vec![0.0; self.len()];
                Random::new(seed, Purpose::Weights).normals(self.stream, from, std, &mut values);
                values
            }
        }
    }
}

/// The weights and biases of rows `maps` of a layer.
pub(crate) fn of(layer: &LayerSizes, recipe: &Recipe, maps: Range<usize>) -> [Param; 2] {
    let inputs = match layer.kind {
        Kind::Conv { kernel, .. } => vec![layer.input.maps / layer.groups, kernel, kernel],
        Kind::FullyConnected => vec![layer.input.len() / layer.groups],
    };
    let mut shape = vec![maps.len()];
    shape.extend(inputs);
    let std = recipe.weight_std_of(layer.name, layer.fan_in());
    let param = |suffix: &str, shape, start, is_bias| Param {
        name: format!("{}.{suffix}", layer.name),
        shape,
        rows: maps.clone(),
        of_rows: layer.pre_activation.maps,
        start,
        is_bias,
        stream: 2 * layer.number + u32::from(is_bias),
    };
    [
        param("weight", shape, Start::Normal(std), false),
        param("bias", vec![maps.len()], Start::Constant(recipe.bias_of(layer.name)), true),
    ]
}
