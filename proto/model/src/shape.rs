//! The size of every activation.

use crate::layer::{After, Kind, Layer, Reads};
use crate::pass::Pass;
use crate::recipe::{OpOrder, Recipe};

/// The shape of one image's activations: `maps` square maps of `side × side`.
///
/// In a fully-connected layer, `maps` is the number of units and `side` is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Number of maps, or of units of a fully-connected layer.
    pub maps: usize,
    /// Side of each map.
    pub side: usize,
}

impl Shape {
    /// Number of values in one image's activations.
    pub const fn len(self) -> usize {
        self.maps * self.side * self.side
    }

    /// Whether the shape holds no values.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// Number of windows along one side. A window that overhangs on the right or at the bottom counts,
/// as in the authors' program (`1 + ceil((side + 2·pad − kernel) / stride)`).
pub const fn windows(side: usize, kernel: usize, stride: usize, pad: usize) -> usize {
    let span = side + 2 * pad;
    if span <= kernel { 1 } else { 1 + (span - kernel).div_ceil(stride) }
}

/// Places beyond the right and the bottom edge that the last window covers, where there is nothing
/// but zeros.
pub const fn overhang(side: usize, kernel: usize, stride: usize, pad: usize) -> usize {
    let covered = (windows(side, kernel, stride, pad) - 1) * stride + kernel;
    covered.saturating_sub(side + 2 * pad)
}

/// A network: a table with a recipe's width, crop and number of classes applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Shape of the input image: three colors, the crop's side.
    pub input: Shape,
    /// Layers from input to output; the last one has one unit per class.
    pub layers: Vec<LayerSizes>,
    /// Number of classes.
    pub classes: usize,
    /// Number of columns: 2 for the network cut in halves, 1 for the one-column network.
    pub columns: usize,
}

/// A layer of the whole network with its sizes.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSizes {
    /// The layer's name, as in parameters, spans and exchange headers.
    pub name: &'static str,
    /// Number in the network's table, counted from 1 at the input; selects the random streams.
    pub number: u32,
    /// Operation that computes the pre-activation.
    pub kind: Kind,
    /// Origin of the inputs when the network is cut in two.
    pub reads: Reads,
    /// Operations that follow the pre-activation, in the recipe's order, without those that the
    /// recipe switches off.
    pub after: Vec<After>,
    /// Shape of the inputs.
    pub input: Shape,
    /// Shape of the pre-activation: weighted inputs plus biases.
    pub pre_activation: Shape,
    /// Shape after all operations of `after`.
    pub output: Shape,
    /// Number of groups: 2 where each half reads only its own maps (conv2, conv4, conv5), 1
    /// elsewhere.
    pub groups: usize,
}

/// Sizes in a recipe that make no network.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ShapeError {
    /// A width that leaves an odd number of maps, or none.
    #[error(
        "width {width} leaves {name} with {maps} maps, which can't be cut in two equal halves: \
         choose a width that leaves every layer an even number"
    )]
    Width {
        /// The layer.
        name: &'static str,
        /// The recipe's width.
        width: f64,
        /// Number of maps that this width leaves.
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
        /// Side of the maps that the layer reads.
        side: usize,
        /// Side of the layer's window.
        window: usize,
    },
    /// A recipe that leaves out, cuts off or adds what the network's table does not allow.
    #[error("{key} = {value} is impossible: it must be {allowed}")]
    Layers {
        /// The recipe's key.
        key: &'static str,
        /// The value that was given.
        value: String,
        /// The values that are allowed, in words.
        allowed: String,
    },
    /// Fewer than two classes.
    #[error("{0} classes: a classifier needs at least two")]
    Classes(usize),
}

impl Network {
    /// Applies a recipe's sizes to its table.
    ///
    /// # Errors
    /// [`ShapeError`] if the sizes make no network.
    pub fn new(recipe: &Recipe, classes: usize) -> Result<Self, ShapeError> {
        if classes < 2 {
            return Err(ShapeError::Classes(classes));
        }
        let table = recipe.rows()?;
        let columns = recipe.columns;
        let input = Shape { maps: 3, side: recipe.crop };
        let mut at = input;
        let mut layers = Vec::with_capacity(table.len());
        for (i, (number, row)) in table.iter().enumerate() {
            let last = i + 1 == table.len();
            let maps =
                if last { classes } else { (row.maps as f64 * recipe.width).round() as usize };
            if maps == 0 || (!last && !maps.is_multiple_of(columns)) {
                return Err(ShapeError::Width { name: row.name, width: recipe.width, maps });
            }
            let layer = layer_sizes(row, *number, maps, at, recipe)?;
            at = layer.output;
            layers.push(layer);
        }
        Ok(Self { input, layers, classes, columns })
    }

    /// Number of multiply-adds in the forward pass of one image.
    pub fn multiply_adds(&self) -> usize {
        self.layers.iter().map(LayerSizes::multiply_adds).sum()
    }

    /// Each layer and pass of a training step with its number of floating-point operations per
    /// image; 0 for a pass that multiplies nothing.
    pub fn training_passes(&self) -> impl Iterator<Item = (&'static str, Pass, usize)> + '_ {
        self.layers.iter().enumerate().flat_map(|(i, layer)| {
            let flop = |pass: Pass| match pass.multiplies(i == 0) {
                true => 2 * layer.multiply_adds(),
                false => 0,
            };
            Pass::ALL.map(|pass| (layer.name, pass, flop(pass)))
        })
    }

    /// Number of floating-point operations per image in training.
    pub fn training_flop(&self) -> usize {
        self.training_passes().map(|(_, _, flop)| flop).sum()
    }
}

impl LayerSizes {
    /// Number of multiply-adds in the forward pass of one image.
    pub fn multiply_adds(&self) -> usize {
        self.pre_activation.len() * self.fan_in()
    }

    /// Number of inputs of one output.
    pub fn fan_in(&self) -> usize {
        match self.kind {
            Kind::Conv { kernel, .. } => self.input.maps / self.groups * kernel * kernel,
            Kind::FullyConnected => self.input.len() / self.groups,
        }
    }
}

fn layer_sizes(
    row: &Layer,
    number: u32,
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
    let after = operations(row, recipe);
    let mut output = pre_activation;
    if after.contains(&After::Pool) {
        if side < recipe.pool_size {
            return Err(small(side, recipe.pool_size));
        }
        output.side = windows(side, recipe.pool_size, recipe.pool_stride, 0);
    }
    // The first layer reads the image, which both halves have.
    let may_group = number > 1 && recipe.columns == 2;
    let groups = if may_group && row.reads == Reads::OwnHalf { 2 } else { 1 };
    Ok(LayerSizes {
        name: row.name,
        number,
        kind: row.kind,
        reads: row.reads,
        after,
        input,
        pre_activation,
        output,
        groups,
    })
}

/// The operations of a row in the recipe's order, without those that the recipe switches off.
///
/// The layers of `OpOrder::AsRun` are named here because that order is a property of the authors'
/// one network, not of the tables.
fn operations(row: &Layer, recipe: &Recipe) -> Vec<After> {
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
