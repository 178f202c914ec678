//! The operations of a half, as values: one struct per operation, its buffers by name.
//!
//! A backend runs each of them (`backend::Run`). `F` is a device's buffer of f32 and `B` one of u8.
//! Activations are `[batch, maps, side, side]`, contiguous; `images` are the positions in the
//! minibatch that an operation works on, so that a micro-batch can be sent while the next one is
//! computed. Offsets follow from `images.start`; everything outside stays as it is.
//!
//! An operation has the same name as a kernel file, a file of both backends and a module of
//! `tests/ops`. Outputs come last, as `&mut`.

use std::ops::Range;

use model::recipe::Activation;

use crate::error::{Error, Result};

/// Images of the minibatch, as positions in it.
pub type Images = Range<usize>;

/// Whether a result overwrites its destination or is added to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accumulate {
    /// Overwrites the destination (β = 0).
    Overwrite,
    /// Adds to the destination (β = 1).
    Add,
}

/// A convolution as one process computes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv {
    /// Input maps that it reads in all, own and peer's.
    pub inputs: usize,
    /// Side of the input maps.
    pub side: usize,
    /// Output maps.
    pub maps: usize,
    /// Side of the output maps.
    pub out_side: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Distance between two windows.
    pub stride: usize,
    /// Zeros on each side; windows that overhang on the right and at the bottom read zeros too.
    pub pad: usize,
    /// Groups: output maps of group g read the inputs of group g only. 2 only in the whole network.
    pub groups: usize,
}

/// A fully-connected layer as one process computes it: weights `[units, inputs]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fc {
    /// Inputs of every unit, own and peer's.
    pub inputs: usize,
    /// Units.
    pub units: usize,
}

/// The inputs of a layer that a buffer holds: all, the own ones or the peer's.
///
/// Counted along the weights' second dimension: input maps of a convolution (with groups: all of
/// them), inputs of a fully-connected layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputRange(pub Range<usize>);

/// Bias, then activation, applied by the product that writes the last part of a pre-activation.
#[derive(Debug)]
pub struct Epilogue<'a, F> {
    /// `[maps]`.
    pub bias: &'a F,
    /// None where the activation comes later, or never (the last layer).
    pub activation: Option<Activation>,
}

/// Response normalization (paper §3.3) inside groups of maps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lrn {
    /// Maps.
    pub maps: usize,
    /// Numbers of a map.
    pub pixels: usize,
    /// Groups of `maps / groups` maps; a window never leaves its group.
    pub groups: usize,
    /// Window width n, in adjacent maps.
    pub size: usize,
    /// The constant k.
    pub k: f32,
    /// The factor α on the plain sum of squares.
    pub alpha: f32,
    /// The exponent β.
    pub beta: f32,
}

/// Max pooling (paper §3.4); windows that overhang on the right and at the bottom are cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Maps.
    pub maps: usize,
    /// Side of the input maps.
    pub side: usize,
    /// Side of the output maps.
    pub out_side: usize,
    /// Side of the window; at most 16, so that a position in it fits a byte.
    pub size: usize,
    /// Distance between two windows.
    pub stride: usize,
}

/// A dropout mask: a pure function of seed, layer, sample and unit (paper §4.2).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DropoutMask {
    /// Probability that a unit is silenced.
    pub rate: f32,
    /// The run's seed.
    pub seed: u64,
    /// The layer's number, which picks the random stream.
    pub stream: u32,
    /// Position of the minibatch's first image in the endless stream of samples.
    pub first_sample: u64,
    /// Units in this process.
    pub units: usize,
    /// Number of this process's first unit in the whole layer.
    pub first_unit: usize,
    /// Units of the whole layer.
    pub of_units: usize,
}

/// Sizes of the softmax over both halves' logits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classes {
    /// Classes of the whole network.
    pub classes: usize,
    /// The classes whose logits this process computed.
    pub own: Range<usize>,
    /// Images over which the loss is averaged.
    pub batch: usize,
}

/// Rates of one update with momentum and weight decay (paper §5).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdRates {
    /// Learning rate ε.
    pub rate: f32,
    /// Momentum.
    pub momentum: f32,
    /// Weight decay; 0 for parameters that do not decay.
    pub decay: f32,
}

fn shape(tensor: &'static str, got: usize, want: usize) -> Error {
    Error::Shape { tensor, got, want }
}

impl InputRange {
    /// Refuses a range that is empty or reaches beyond a layer's `inputs`.
    pub(crate) fn check(&self, inputs: usize) -> Result<()> {
        if self.0.is_empty() || self.0.end > inputs {
            return Err(shape("range of inputs", self.0.end, inputs));
        }
        Ok(())
    }
}

impl Conv {
    /// Refuses a range of inputs that the convolution does not have; with groups, it has only all.
    pub(crate) fn check(&self, range: &InputRange) -> Result<()> {
        range.check(self.inputs)?;
        if self.groups > 1 && range.0 != (0..self.inputs) {
            return Err(shape("range of inputs", range.0.len(), self.inputs));
        }
        Ok(())
    }
}

impl Lrn {
    /// Refuses a pooling of other maps than those that are normalized, and as [`Pool::check`] does.
    pub(crate) fn check_pooled_by(&self, pool: &Pool) -> Result<()> {
        pool.check()?;
        let (got, want) = (pool.maps * pool.side * pool.side, self.maps * self.pixels);
        if (pool.maps, got) != (self.maps, want) {
            return Err(shape("normalized maps", got, want));
        }
        Ok(())
    }
}

impl Pool {
    /// Refuses windows whose positions do not fit a byte, or that begin outside of the map.
    pub(crate) fn check(&self) -> Result<()> {
        /// Largest side of a window: its last position is 16² − 1.
        const LARGEST: usize = 16;
        let Self { side, out_side, size, stride, .. } = *self;
        if size == 0 || size > LARGEST {
            return Err(shape("pooling window", size, LARGEST));
        }
        if out_side == 0 || stride == 0 || (out_side - 1) * stride >= side {
            return Err(shape("pooling windows", out_side, side));
        }
        Ok(())
    }
}

impl Classes {
    /// Refuses own classes that are none or do not exist, and others without the peer's logits.
    pub(crate) fn check(&self, has_peer: bool) -> Result<()> {
        let has_others = self.own.len() < self.classes;
        if self.own.is_empty() || self.own.end > self.classes || (has_others && !has_peer) {
            return Err(shape("logits", self.own.end, self.classes));
        }
        Ok(())
    }
}

/// Pixels to numbers: subtracts the mean at the crop's position, mirrors, adds the color shift.
///
/// `y[c][r][x] = p[c][r][x'] − mean[c][row + r][column + x'] + shift[c]`, with
/// `x' = crop − 1 − x` where mirrored and `x' = x` elsewhere.
#[derive(Debug)]
pub struct Input<'a, F, B> {
    /// Images that are worked on.
    pub images: Images,
    /// Side of the crop.
    pub crop: usize,
    /// Side of the mean image.
    pub side: usize,
    /// `[n, 3, crop, crop]`, before mirroring.
    pub pixels: &'a B,
    /// `[n, 6]`: row, column, mirrored (0 or 1), shift of red, green and blue.
    pub crops: &'a F,
    /// `[3, side, side]`.
    pub mean: &'a F,
    /// `[n, 3, crop, crop]`, in units of 0..255.
    pub y: &'a mut F,
}

/// Convolution of one range of the inputs.
#[derive(Debug)]
pub struct ConvForward<'a, F> {
    /// Sizes of the convolution.
    pub conv: &'a Conv,
    /// Images that are worked on.
    pub images: Images,
    /// `[n, range, side, side]`: the maps of `range` only.
    pub x: &'a F,
    /// The inputs that `x` holds; with groups, all of them.
    pub range: &'a InputRange,
    /// `[maps, inputs / groups, kernel, kernel]`: all weights.
    pub w: &'a F,
    /// Whether `y` is overwritten or added to.
    pub accumulate: Accumulate,
    /// Bias and activation, with the last range of the inputs.
    pub epilogue: Option<Epilogue<'a, F>>,
    /// `[n, maps, out_side, out_side]`.
    pub y: &'a mut F,
}

/// Gradient of one range of a convolution's inputs.
#[derive(Debug)]
pub struct ConvBackwardInputs<'a, F> {
    /// Sizes of the convolution.
    pub conv: &'a Conv,
    /// Images that are worked on.
    pub images: Images,
    /// `[n, maps, out_side, out_side]`.
    pub dy: &'a F,
    /// `[maps, inputs / groups, kernel, kernel]`: all weights.
    pub w: &'a F,
    /// The inputs whose gradient is computed; with groups, all of them.
    pub range: &'a InputRange,
    /// `[n, range, side, side]`, overwritten.
    pub dx: &'a mut F,
}

/// Gradient of the weights that read one range of a convolution's inputs, summed over `images`.
#[derive(Debug)]
pub struct ConvBackwardWeights<'a, F> {
    /// Sizes of the convolution.
    pub conv: &'a Conv,
    /// Images that are worked on.
    pub images: Images,
    /// `[n, range, side, side]`: the maps of `range` only.
    pub x: &'a F,
    /// The inputs that `x` holds; with groups, all of them.
    pub range: &'a InputRange,
    /// `[n, maps, out_side, out_side]`.
    pub dy: &'a F,
    /// Whether this range of `dw` is overwritten or added to.
    pub accumulate: Accumulate,
    /// `[maps, inputs / groups, kernel, kernel]`; weights of other inputs stay as they are.
    pub dw: &'a mut F,
}

impl<F> ConvBackwardWeights<'_, F> {
    /// Refuses a range of inputs that does not exist, and a sum over no image: a GPU writes the
    /// table that its product reads while it packs the images.
    pub(crate) fn check(&self) -> Result<()> {
        if self.images.is_empty() {
            return Err(shape("images of a gradient", 0, 1));
        }
        self.conv.check(self.range)
    }
}

/// Products of one range of a fully-connected layer's inputs.
#[derive(Debug)]
pub struct FcForward<'a, F> {
    /// Sizes of the layer.
    pub fc: &'a Fc,
    /// Images that are worked on.
    pub images: Images,
    /// `[n, range]`: the inputs of `range` only.
    pub x: &'a F,
    /// The inputs that `x` holds.
    pub range: &'a InputRange,
    /// `[units, inputs]`: all weights.
    pub w: &'a F,
    /// Whether `y` is overwritten or added to.
    pub accumulate: Accumulate,
    /// Bias and activation, with the last range of the inputs.
    pub epilogue: Option<Epilogue<'a, F>>,
    /// `[n, units]`.
    pub y: &'a mut F,
}

/// Gradient of one range of a fully-connected layer's inputs.
#[derive(Debug)]
pub struct FcBackwardInputs<'a, F> {
    /// Sizes of the layer.
    pub fc: &'a Fc,
    /// Images that are worked on.
    pub images: Images,
    /// `[n, units]`.
    pub dy: &'a F,
    /// `[units, inputs]`: all weights.
    pub w: &'a F,
    /// The inputs whose gradient is computed.
    pub range: &'a InputRange,
    /// `[n, range]`, overwritten.
    pub dx: &'a mut F,
}

/// Gradient of the weights that read one range of the inputs, summed over `images`.
#[derive(Debug)]
pub struct FcBackwardWeights<'a, F> {
    /// Sizes of the layer.
    pub fc: &'a Fc,
    /// Images that are worked on.
    pub images: Images,
    /// `[n, range]`: the inputs of `range` only.
    pub x: &'a F,
    /// The inputs that `x` holds.
    pub range: &'a InputRange,
    /// `[n, units]`.
    pub dy: &'a F,
    /// Whether this range of `dw` is overwritten or added to.
    pub accumulate: Accumulate,
    /// `[units, inputs]`; weights of other inputs stay as they are.
    pub dw: &'a mut F,
}

/// Gradient of the biases: the sum of `dy` over images and pixels.
#[derive(Debug)]
pub struct BiasBackward<'a, F> {
    /// Maps, or units of a fully-connected layer.
    pub maps: usize,
    /// Numbers of a map; 1 in a fully-connected layer.
    pub pixels: usize,
    /// Images that are worked on.
    pub images: Images,
    /// `[n, maps, pixels]`.
    pub dy: &'a F,
    /// Whether `db` is overwritten or added to.
    pub accumulate: Accumulate,
    /// `[maps]`.
    pub db: &'a mut F,
}

/// Activation in place.
#[derive(Debug)]
pub struct ActivationForward<'a, F> {
    /// The function.
    pub activation: Activation,
    /// Numbers of an image.
    pub len: usize,
    /// Images that are worked on.
    pub images: Images,
    /// `[n, len]`: pre-activations before, activations after.
    pub y: &'a mut F,
}

/// Gradient of an activation's input from that of its output, in place.
#[derive(Debug)]
pub struct ActivationBackward<'a, F> {
    /// The function.
    pub activation: Activation,
    /// Numbers of an image.
    pub len: usize,
    /// Images that are worked on.
    pub images: Images,
    /// `[n, len]`: the function's output.
    pub y: &'a F,
    /// `[n, len]`: the gradient of `y` before, of the function's input after.
    pub dy: &'a mut F,
}

/// Response normalization: `scale = k + α Σ x²` over the window, `y = x · scale^−β`.
#[derive(Debug)]
pub struct LrnForward<'a, F> {
    /// Sizes and constants.
    pub lrn: &'a Lrn,
    /// Images that are worked on.
    pub images: Images,
    /// `[n, maps, pixels]`.
    pub x: &'a F,
    /// `[n, maps, pixels]`: what a device keeps for the backward pass. A CPU keeps nothing.
    pub scale: &'a mut F,
    /// `[n, maps, pixels]`.
    pub y: &'a mut F,
}

/// Gradient of a response normalization's input:
/// `dx = dy · scale^−β − 2αβ · x · Σ (dy · y / scale)` over the window.
#[derive(Debug)]
pub struct LrnBackward<'a, F> {
    /// Sizes and constants.
    pub lrn: &'a Lrn,
    /// Images that are worked on.
    pub images: Images,
    /// `[n, maps, pixels]`: the input of the forward pass.
    pub x: &'a F,
    /// `[n, maps, pixels]`, as the forward pass left it.
    pub scale: &'a F,
    /// `[n, maps, pixels]`: the output of the forward pass.
    pub y: &'a F,
    /// `[n, maps, pixels]`: the gradient of `y`.
    pub dy: &'a F,
    /// `[n, maps, pixels]`, overwritten.
    pub dx: &'a mut F,
}

/// The largest number of each window, and its position there.
#[derive(Debug)]
pub struct PoolForward<'a, F, B> {
    /// Sizes of maps and windows.
    pub pool: &'a Pool,
    /// Images that are worked on.
    pub images: Images,
    /// `[n, maps, side, side]`.
    pub x: &'a F,
    /// `[n, maps, out_side, out_side]`: the position in the window, row by row; the first of
    /// equals.
    pub argmax: &'a mut B,
    /// `[n, maps, out_side, out_side]`.
    pub y: &'a mut F,
}

/// Gradient of a pooling's input: each number of `dy` goes to the position that was the largest.
#[derive(Debug)]
pub struct PoolBackward<'a, F, B> {
    /// Sizes of maps and windows.
    pub pool: &'a Pool,
    /// Images that are worked on.
    pub images: Images,
    /// `[n, maps, out_side, out_side]`, as the forward pass left it.
    pub argmax: &'a B,
    /// `[n, maps, out_side, out_side]`.
    pub dy: &'a F,
    /// `[n, maps, side, side]`, overwritten.
    pub dx: &'a mut F,
}

/// Memory between a response normalization and the pooling of its output.
#[derive(Debug)]
pub struct Between<F> {
    /// `[n, maps, pixels]`: the scale of the normalization.
    pub scale: F,
    /// `[n, maps, pixels]`: its output.
    pub value: F,
    /// `[n, maps, pixels]`: the gradient of its output.
    pub gradient: F,
}

/// Response normalization, then max pooling of its output, as one operation.
#[derive(Debug)]
pub struct LrnPoolForward<'a, F, B> {
    /// Sizes and constants of the normalization.
    pub lrn: &'a Lrn,
    /// Sizes of maps and windows.
    pub pool: &'a Pool,
    /// Images that are worked on.
    pub images: Images,
    /// `[n, maps, side, side]`.
    pub x: &'a F,
    /// Memory for a device that stores what is between the two.
    pub between: &'a mut Between<F>,
    /// `[n, maps, out_side, out_side]`: as in [`PoolForward`].
    pub argmax: &'a mut B,
    /// `[n, maps, out_side, out_side]`.
    pub y: &'a mut F,
}

/// Gradient of the input of a response normalization whose output is pooled, and of the activation
/// that made that input.
#[derive(Debug)]
pub struct LrnPoolBackward<'a, F, B> {
    /// Sizes and constants of the normalization.
    pub lrn: &'a Lrn,
    /// Sizes of maps and windows.
    pub pool: &'a Pool,
    /// The activation whose output is `x`; None gives the gradient of `x` itself.
    pub activation: Option<Activation>,
    /// Images that are worked on.
    pub images: Images,
    /// `[n, maps, side, side]`: the input of the forward pass.
    pub x: &'a F,
    /// As the forward pass left it.
    pub between: &'a mut Between<F>,
    /// `[n, maps, out_side, out_side]`, as the forward pass left it.
    pub argmax: &'a B,
    /// `[n, maps, out_side, out_side]`.
    pub dy: &'a F,
    /// `[n, maps, side, side]`, overwritten.
    pub dx: &'a mut F,
}

/// Silences units in place: on activations in the forward pass, on their gradient in the backward
/// pass, with the same mask.
///
/// Unit `u` of sample `s` is silent if word `i % 4` of Philox at index `i / 4` of the layer's
/// stream is below `rate · 2³²`, with `i = s · of_units + first_unit + u`.
#[derive(Debug)]
pub struct Dropout<'a, F> {
    /// The mask.
    pub mask: &'a DropoutMask,
    /// Images that are worked on.
    pub images: Images,
    /// `[n, units]`.
    pub y: &'a mut F,
}

/// Multiplies in place: dropout's form at test time (paper §4.2: × 0.5).
#[derive(Debug)]
pub struct Scale<'a, F> {
    /// The factor.
    pub factor: f32,
    /// Numbers of an image.
    pub len: usize,
    /// Images that are worked on.
    pub images: Images,
    /// `[n, len]`.
    pub y: &'a mut F,
}

/// `to += from`.
#[derive(Debug)]
pub struct Add<'a, F> {
    /// Numbers of an image.
    pub len: usize,
    /// Images that are worked on.
    pub images: Images,
    /// `[n, len]`.
    pub from: &'a F,
    /// `[n, len]`.
    pub to: &'a mut F,
}

/// Probabilities of all classes, each image's loss and the gradient of the own logits.
///
/// `loss = −ln p(label)`, `dlogits = (p − 1(label)) / batch`. Sums run over the classes in order,
/// in every process alike.
#[derive(Debug)]
pub struct Softmax<'a, F> {
    /// Numbers of classes and images.
    pub classes: &'a Classes,
    /// Images that are worked on.
    pub images: Images,
    /// `[n, own]`.
    pub own: &'a F,
    /// `[n, classes − own]`; None where `own` is all.
    pub peer: Option<&'a F>,
    /// `[n]`, class numbers as floats.
    pub labels: &'a F,
    /// `[n, classes]`.
    pub probabilities: &'a mut F,
    /// `[n]`.
    pub loss: &'a mut F,
    /// `[n, own]`.
    pub dlogits: &'a mut F,
}

/// One update of all numbers of a parameter: `v ← m·v − d·r·w − r·g; w ← w + v`.
#[derive(Debug)]
pub struct Sgd<'a, F> {
    /// Learning rate r, momentum m and decay d.
    pub rates: &'a SgdRates,
    /// Gradient, averaged over the minibatch.
    pub g: &'a F,
    /// Weights.
    pub w: &'a mut F,
    /// Momentum.
    pub v: &'a mut F,
}
