//! The size of every activation.

use crate::layer::{After, Kind, Layer, Reads};
use crate::recipe::{OpOrder, Recipe};

/// The activations of one image: `maps` square maps of `side × side`; a fully-connected layer has side 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Maps, or units of a fully-connected layer.
    pub maps: usize,
    /// Side of a map.
    pub side: usize,
}

impl Shape {
    /// Numbers in one image's activations.
    pub const fn len(self) -> usize {
        self.maps * self.side * self.side
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// Windows along one side: overhang on the right and at the bottom counts, as in the authors'
/// program (`1 + ceil((side + 2·pad − kernel) / stride)`).
pub const fn windows(side: usize, kernel: usize, stride: usize, pad: usize) -> usize {
    let span = side + 2 * pad;
    if span <= kernel { 1 } else { 1 + (span - kernel).div_ceil(stride) }
}

/// A network: a table with a recipe's width, input side and class count worked in.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// The image as the first layer sees it: three colors, the crop's side.
    pub input: Shape,
    /// Top to bottom; the last one's maps are the classes.
    pub layers: Vec<LayerSizes>,
    /// Number of classes.
    pub classes: usize,
    /// 2: cut in halves; 1: the one-column network, a single process.
    pub columns: usize,
}

/// A layer with its sizes, both halves together.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSizes {
    /// The layer's name, as in parameters, spans and exchange headers.
    pub name: &'static str,
    /// Position in the network from the input on, beginning with 1; picks random streams.
    pub number: u32,
    /// What it computes.
    pub kind: Kind,
    /// Whose maps it reads.
    pub reads: Reads,
    /// What follows the weights and biases, in the recipe's order, without what the recipe switches off.
    pub after: Vec<After>,
    /// What it reads.
    pub input: Shape,
    /// Weighted sums plus biases, before the operations of `after`.
    pub pre_activation: Shape,
    /// After everything in `after`.
    pub output: Shape,
    /// 2 where halves keep to themselves (conv2, conv4, conv5), else 1.
    pub groups: usize,
}

/// Why a recipe's sizes make no network.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ShapeError {
    /// A width that leaves an odd number of maps, or none.
    #[error(
        "width {width} leaves {name} with {maps} maps, which can't be cut in two equal halves: choose a width that leaves every layer an even number"
    )]
    Width {
        /// The layer.
        name: &'static str,
        /// The recipe's factor.
        width: f64,
        /// What it leaves.
        maps: usize,
    },
    /// A map smaller than the pooling or kernel window.
    #[error(
        "crop {crop} is too small: {name} would read maps of side {side} with a window of {window}"
    )]
    TooSmall {
        /// The layer.
        name: &'static str,
        /// The recipe's crop.
        crop: usize,
        /// Side of the maps it reads.
        side: usize,
        /// Side of its window.
        window: usize,
    },
    /// Fewer than two classes.
    #[error("{0} classes: a classifier needs at least two")]
    Classes(usize),
}

impl Network {
    /// Works a recipe's sizes into its table.
    ///
    /// # Errors
    /// [`ShapeError`] if the sizes make no network.
    pub fn new(recipe: &Recipe, classes: usize) -> Result<Self, ShapeError> {
        if classes < 2 {
            return Err(ShapeError::Classes(classes));
        }
        let table = recipe.table();
        let columns = recipe.columns;
        let input = Shape { maps: 3, side: recipe.crop };
        let mut at = input;
        let mut layers = Vec::with_capacity(table.len());
        for (i, row) in table.iter().enumerate() {
            let last = i + 1 == table.len();
            let maps =
                if last { classes } else { (row.maps as f64 * recipe.width).round() as usize };
            if maps == 0 || (!last && !maps.is_multiple_of(columns)) {
                return Err(ShapeError::Width { name: row.name, width: recipe.width, maps });
            }
            let layer = sized(row, i, maps, at, recipe)?;
            at = layer.output;
            layers.push(layer);
        }
        Ok(Self { input, layers, classes, columns })
    }

    /// Multiply-adds of one image's forward pass.
    pub fn multiply_adds(&self) -> usize {
        self.layers.iter().map(LayerSizes::multiply_adds).sum()
    }

    /// Floating-point operations of one image in training: forward, gradient of the weights, and
    /// of the inputs except those of the first layer, which nobody needs.
    pub fn training_flop(&self) -> usize {
        let all: usize = self.layers.iter().map(|l| 6 * l.multiply_adds()).sum();
        all - 2 * self.layers[0].multiply_adds()
    }
}

impl LayerSizes {
    /// Multiply-adds of one image's forward pass.
    pub fn multiply_adds(&self) -> usize {
        self.pre_activation.len() * self.fan_in()
    }

    /// Inputs of one output.
    pub fn fan_in(&self) -> usize {
        match self.kind {
            Kind::Conv { kernel, .. } => self.input.maps / self.groups * kernel * kernel,
            Kind::FullyConnected => self.input.len() / self.groups,
        }
    }
}

fn sized(
    row: &Layer,
    index: usize,
    maps: usize,
    input: Shape,
    recipe: &Recipe,
) -> Result<LayerSizes, ShapeError> {
    let small =
        |side, window| ShapeError::TooSmall { name: row.name, crop: recipe.crop, side, window };
    let side = match row.kind {
        Kind::Conv { kernel, stride, pad } => {
            if input.side + 2 * pad < kernel {
                return Err(small(input.side, kernel));
            }
            windows(input.side, kernel, stride, pad)
        }
        Kind::FullyConnected => 1,
    };
    let pre_activation = Shape { maps, side };
    let after = in_order(row, recipe);
    let mut output = pre_activation;
    if after.contains(&After::Pool) {
        if side < recipe.pool_size {
            return Err(small(side, recipe.pool_size));
        }
        output.side = windows(side, recipe.pool_size, recipe.pool_stride, 0);
    }
    // The first layer reads the image, which both halves have.
    let may_group = index > 0 && recipe.columns == 2;
    let groups = if may_group && row.reads == Reads::OwnHalf { 2 } else { 1 };
    Ok(LayerSizes {
        name: row.name,
        number: index as u32 + 1,
        kind: row.kind,
        reads: row.reads,
        after,
        input,
        pre_activation,
        output,
        groups,
    })
}

/// The table's operations in the recipe's order, without those the recipe switches off.
fn in_order(row: &Layer, recipe: &Recipe) -> Vec<After> {
    let mut after: Vec<After> = row
        .after
        .iter()
        .copied()
        .filter(|op| match op {
            After::Lrn => recipe.lrn != crate::recipe::Lrn::None,
            After::Dropout => recipe.dropout > 0.0,
            After::Activation | After::Pool => true,
        })
        .collect();
    // The authors ran conv1 as LRN, pool, ReLU and conv5 as pool, ReLU (layers-145.cfg); conv2
    // kept ReLU, LRN, pool.
    if recipe.order == OpOrder::AsRun && matches!(row.name, "conv1" | "conv5") {
        after.retain(|op| *op != After::Activation);
        let end = after.iter().position(|op| *op == After::Pool).map_or(after.len(), |p| p + 1);
        after.insert(end, After::Activation);
    }
    after
}
