//! The operations of a half, as a trait: what a device must be able to do.
//!
//! Buffers live on the device and are touched only through this trait. Every operation is queued
//! on the device's one compute stream and may return before it has run; operations run in the
//! order in which they were queued. `images` is the range of the minibatch an operation works on,
//! so that a slice can be sent while the next one is computed. All activation buffers are
//! `[batch, maps, side, side]`, f32, contiguous; offsets follow from `images.start`.

use std::fmt::Debug;
use std::ops::Range;

use bytes::Bytes;
use model::recipe::{Activation, Encoding};

use crate::error::Result;
use crate::watch::Watch;

pub mod cpu;
#[expect(unsafe_code, reason = "launches and the driver's own calls, each with its argument")]
pub mod cuda;

/// Powers of two that a scaled tensor travels with: those that an f32 and its inverse both have;
/// beyond, f16 has long lost the number.
pub(crate) const EXPONENTS: std::ops::RangeInclusive<i32> = -126..=126;

/// Images of the minibatch, as positions in it.
pub type Images = Range<usize>;

/// Whether an operation starts a sum or adds to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    /// Overwrites.
    Start,
    /// Adds to what is there.
    Add,
}

/// A convolution as one process computes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv {
    /// Input maps it reads in all, own and peer's.
    pub inputs: usize,
    /// Side of the input maps.
    pub side: usize,
    /// Output maps.
    pub maps: usize,
    /// Side of the output maps.
    pub out_side: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Distance between windows.
    pub stride: usize,
    /// Zeros on each side; windows that overhang right and bottom read zeros too.
    pub pad: usize,
    /// Groups: output maps of group g read the inputs of group g only. 2 only in the whole network.
    pub groups: usize,
}

/// A full layer as one process computes it: weights `[units, inputs]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// Inputs of every unit, own and peer's.
    pub inputs: usize,
    /// Units.
    pub units: usize,
}

/// Which of a layer's inputs a buffer holds: all, own, or the peer's.
///
/// Counted along the weights' second dimension: input maps of a convolution (with groups: all of
/// them), inputs of a full layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part(pub Range<usize>);

/// What ends a layer's sum: bias, then activation, in the pass that adds the last part.
#[derive(Debug)]
pub struct Finish<'a, F> {
    /// `[maps]`.
    pub bias: &'a F,
    /// None where the activation comes later, or never (the last layer).
    pub activation: Option<Activation>,
}

/// Response normalisation (paper §3.3) inside groups of maps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lrn {
    /// Maps.
    pub maps: usize,
    /// Numbers in a map.
    pub pixels: usize,
    /// The window never looks across groups of `maps / groups` maps.
    pub groups: usize,
    /// Window, in maps.
    pub size: usize,
    /// k.
    pub k: f32,
    /// α on the plain sum of squares.
    pub alpha: f32,
    /// β.
    pub beta: f32,
}

/// Max pooling; windows that overhang right and bottom are cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Maps.
    pub maps: usize,
    /// Side of the input maps.
    pub side: usize,
    /// Side of the output maps.
    pub out_side: usize,
    /// Side of the window; at most 16, so that a place in it fits a byte.
    pub size: usize,
    /// Distance between windows.
    pub stride: usize,
}

/// A dropout mask: a pure function of seed, layer, sample and unit (paper §4.2).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Probability of silence.
    pub rate: f32,
    /// The run's seed.
    pub seed: u64,
    /// The layer's number: the random stream.
    pub stream: u32,
    /// Place of the minibatch's first image in the endless stream of samples.
    pub first_sample: u64,
    /// Units here.
    pub units: usize,
    /// Number of this process's first unit in the whole layer.
    pub first_unit: usize,
    /// Units of the whole layer.
    pub of_units: usize,
}

/// Softmax with multinomial logistic loss over the whole layer's logits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Softmax {
    /// Classes.
    pub classes: usize,
    /// The classes whose logits this process computed.
    pub own: Range<usize>,
    /// Images the loss is averaged over.
    pub batch: usize,
}

/// One step of momentum and decay (paper §5).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// ε.
    pub rate: f32,
    /// Momentum.
    pub momentum: f32,
    /// Weight decay; 0 for parameters that don't decay.
    pub decay: f32,
}

/// Device data on its way to the host.
pub enum Download {
    /// Already there.
    Ready(Encoded),
    /// The copy runs; the closure waits for it. Call it where blocking is allowed.
    Pending(Box<dyn FnOnce() -> Result<Encoded> + Send>),
}

impl Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ready(_) => "Download::Ready",
            Self::Pending(_) => "Download::Pending",
        })
    }
}

impl Download {
    /// Waits until the bytes are on the host.
    ///
    /// # Errors
    /// If the device failed before the copy ended.
    pub fn wait(self) -> Result<Encoded> {
        match self {
            Self::Ready(encoded) => Ok(encoded),
            Self::Pending(wait) => wait(),
        }
    }
}

/// Numbers as they travel.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// Little-endian f32, or f16.
    pub bytes: Bytes,
    /// f16 or not.
    pub wire: Encoding,
    /// The numbers were multiplied by `2^exponent` first (0 for f32).
    pub exponent: i32,
}

/// One device: its memory, its transfers, its operations.
///
/// # Errors
/// Every method fails with [`crate::Error::Shape`] if a buffer doesn't fit the geometry (nothing
/// has been launched then), or with the device's own error, which may belong to an earlier launch.
pub trait Backend: Send {
    /// A buffer of f32 on the device.
    type Floats: Send + Debug;
    /// A buffer of u8 on the device: pixels, and the places that pooling took.
    type Bytes: Send + Debug;
    /// A moment on the compute stream.
    type Mark: Send + Debug;

    /// The device, for people: `cpu (AMD EPYC, 1 thread)`, `cuda:0 (…)`.
    fn name(&self) -> String;

    // ---- memory: all of it is taken before step 0

    /// A buffer of zeros.
    fn floats(&mut self, tensor: &'static str, len: usize) -> Result<Self::Floats>;
    /// A buffer of zeros.
    fn bytes(&mut self, tensor: &'static str, len: usize) -> Result<Self::Bytes>;

    /// Takes the working memory that a layer's operations need at `batch` images, so that no step
    /// has to.
    fn reserve(&mut self, conv: Option<&Conv>, full: Option<&Full>, batch: usize) -> Result<()> {
        let _ = (conv, full, batch);
        Ok(())
    }

    /// Takes the memory for `n` tensors of up to `len` numbers on their way at once, each way.
    fn reserve_transfers(&mut self, len: usize, n: usize) -> Result<()> {
        let _ = (len, n);
        Ok(())
    }

    /// Notices calls to the device that don't come back; a CPU has none.
    fn watch(&self) -> Watch {
        Watch::default()
    }

    // ---- transfers: queued in order with the operations

    /// Copies floats (as f32 or f16, pieces in order, split anywhere) into `to` from number `at` on.
    fn upload(
        &mut self,
        from: &[Bytes],
        wire: Encoding,
        exponent: i32,
        to: &mut Self::Floats,
        at: usize,
    ) -> Result<()>;
    /// Copies bytes (pieces in order) to the start of `to`.
    fn upload_bytes(&mut self, from: &[Bytes], to: &mut Self::Bytes) -> Result<()>;
    /// Starts copying `range` to the host once everything queued before has run. `Encoding::F16`
    /// scales by the power of two that brings the largest magnitude just below f16's largest.
    fn download(
        &mut self,
        from: &Self::Floats,
        range: Range<usize>,
        wire: Encoding,
    ) -> Result<Download>;

    // ---- time

    /// Marks this moment on the compute stream.
    fn mark(&mut self) -> Result<Self::Mark>;
    /// Device time between two marks; waits for the later one.
    fn ms_between(&mut self, from: &Self::Mark, to: &Self::Mark) -> Result<f64>;
    /// Whether everything queued before the mark has run.
    fn passed(&mut self, mark: &Self::Mark) -> Result<bool>;
    /// Waits until everything queued has run.
    fn finish(&mut self) -> Result<()>;

    // ---- operations

    /// Pixels to numbers: subtracts the mean at the crop's place, mirrors, adds the colour shift.
    ///
    /// `pixels` `[n, 3, crop, crop]` u8 before the flip; `places` `[n, 6]`: row, column, flip (0 or
    /// 1), shift of red, green, blue; `mean` `[3, side, side]`; `y` `[n, 3, crop, crop]` in 0..255
    /// units. `y[c][r][x] = p[c][r][x'] − mean[c][row + r][column + x'] + shift[c]`, with
    /// `x' = crop − 1 − x` where flipped, else `x`.
    #[expect(clippy::too_many_arguments, reason = "outputs, inputs, sizes: a launch's list")]
    fn input(
        &mut self,
        images: Images,
        crop: usize,
        side: usize,
        pixels: &Self::Bytes,
        places: &Self::Floats,
        mean: &Self::Floats,
        y: &mut Self::Floats,
    ) -> Result<()>;

    /// Adds the convolution of one part of the inputs to the sum `y` `[n, maps, out, out]`.
    ///
    /// `x` holds just `part`'s maps `[n, part, side, side]`; `w` is whole:
    /// `[maps, inputs / groups, kernel, kernel]`. With groups, `part` is all inputs.
    #[expect(clippy::too_many_arguments, reason = "outputs, inputs, sizes: a launch's list")]
    fn conv_forward(
        &mut self,
        conv: &Conv,
        images: Images,
        x: &Self::Floats,
        part: &Part,
        w: &Self::Floats,
        sum: Sum,
        finish: Option<Finish<'_, Self::Floats>>,
        y: &mut Self::Floats,
    ) -> Result<()>;
    /// Gradient of one part of the inputs: overwrites `dx` `[n, part, side, side]`.
    fn conv_backward_inputs(
        &mut self,
        conv: &Conv,
        images: Images,
        dy: &Self::Floats,
        w: &Self::Floats,
        part: &Part,
        dx: &mut Self::Floats,
    ) -> Result<()>;
    /// Gradient of the weights that read one part, summed over `images`, into `dw` (whole).
    #[expect(clippy::too_many_arguments, reason = "outputs, inputs, sizes: a launch's list")]
    fn conv_backward_weights(
        &mut self,
        conv: &Conv,
        images: Images,
        x: &Self::Floats,
        part: &Part,
        dy: &Self::Floats,
        sum: Sum,
        dw: &mut Self::Floats,
    ) -> Result<()>;

    /// Adds one part's products to the sum `y` `[n, units]`; `x` holds just the part `[n, part]`.
    #[expect(clippy::too_many_arguments, reason = "outputs, inputs, sizes: a launch's list")]
    fn full_forward(
        &mut self,
        full: &Full,
        images: Images,
        x: &Self::Floats,
        part: &Part,
        w: &Self::Floats,
        sum: Sum,
        finish: Option<Finish<'_, Self::Floats>>,
        y: &mut Self::Floats,
    ) -> Result<()>;
    /// Gradient of one part of the inputs: overwrites `dx` `[n, part]`.
    fn full_backward_inputs(
        &mut self,
        full: &Full,
        images: Images,
        dy: &Self::Floats,
        w: &Self::Floats,
        part: &Part,
        dx: &mut Self::Floats,
    ) -> Result<()>;
    /// Gradient of the weights that read one part, summed over `images`, into `dw` (whole).
    #[expect(clippy::too_many_arguments, reason = "outputs, inputs, sizes: a launch's list")]
    fn full_backward_weights(
        &mut self,
        full: &Full,
        images: Images,
        x: &Self::Floats,
        part: &Part,
        dy: &Self::Floats,
        sum: Sum,
        dw: &mut Self::Floats,
    ) -> Result<()>;

    /// Gradient of the biases, summed over images and pixels: `dy` `[n, maps, pixels]`, `db` `[maps]`.
    fn bias_backward(
        &mut self,
        maps: usize,
        pixels: usize,
        images: Images,
        dy: &Self::Floats,
        sum: Sum,
        db: &mut Self::Floats,
    ) -> Result<()>;

    /// Activation in place; `len` numbers an image.
    fn activation_forward(
        &mut self,
        activation: Activation,
        len: usize,
        images: Images,
        y: &mut Self::Floats,
    ) -> Result<()>;
    /// Turns the gradient of an activation's output `y` into that of its input, in place.
    fn activation_backward(
        &mut self,
        activation: Activation,
        len: usize,
        images: Images,
        y: &Self::Floats,
        dy: &mut Self::Floats,
    ) -> Result<()>;

    /// `scale = k + α Σ x²` over the window, `y = x · scale^−β`; `scale` is kept for the way back.
    fn lrn_forward(
        &mut self,
        lrn: &Lrn,
        images: Images,
        x: &Self::Floats,
        scale: &mut Self::Floats,
        y: &mut Self::Floats,
    ) -> Result<()>;
    /// `dx = dy · scale^−β − 2αβ · x · Σ (dy · y / scale)` over the window.
    #[expect(clippy::too_many_arguments, reason = "outputs, inputs, sizes: a launch's list")]
    fn lrn_backward(
        &mut self,
        lrn: &Lrn,
        images: Images,
        x: &Self::Floats,
        scale: &Self::Floats,
        y: &Self::Floats,
        dy: &Self::Floats,
        dx: &mut Self::Floats,
    ) -> Result<()>;

    /// Largest of each window, and where in the window it was (row-major; the first of equals).
    fn pool_forward(
        &mut self,
        pool: &Pool,
        images: Images,
        x: &Self::Floats,
        taken: &mut Self::Bytes,
        y: &mut Self::Floats,
    ) -> Result<()>;
    /// Sends each gradient to the place that was taken: overwrites `dx`.
    fn pool_backward(
        &mut self,
        pool: &Pool,
        images: Images,
        taken: &Self::Bytes,
        dy: &Self::Floats,
        dx: &mut Self::Floats,
    ) -> Result<()>;

    /// Silences units in place: forward on activations, backward on their gradient, same mask.
    ///
    /// Unit `u` of sample `s` is silent if word `i % 4` of Philox at index `i / 4` of the layer's
    /// stream is below `rate · 2³²`, with `i = s · of_units + first_unit + u`.
    fn dropout(&mut self, dropout: &Dropout, images: Images, y: &mut Self::Floats) -> Result<()>;
    /// Multiplies in place; `len` numbers an image. Dropout's form at test (paper §4.2: × 0.5).
    fn scale(
        &mut self,
        factor: f32,
        len: usize,
        images: Images,
        y: &mut Self::Floats,
    ) -> Result<()>;
    /// `to += from`; `len` numbers an image.
    fn add(
        &mut self,
        len: usize,
        images: Images,
        from: &Self::Floats,
        to: &mut Self::Floats,
    ) -> Result<()>;

    /// Probabilities of all classes and each image's loss from both halves' logits.
    ///
    /// `own` `[n, own]`, `peer` `[n, classes − own]` (None: own is all); `labels` `[n]` as floats;
    /// `probabilities` `[n, classes]`, `loss` `[n]` = −ln p(label); `dlogits` `[n, own]` =
    /// (p − 1(label)) / batch. Sums run over classes in order, in every process alike.
    #[expect(clippy::too_many_arguments, reason = "outputs, inputs, sizes: a launch's list")]
    fn softmax(
        &mut self,
        softmax: &Softmax,
        images: Images,
        own: &Self::Floats,
        peer: Option<&Self::Floats>,
        labels: &Self::Floats,
        probabilities: &mut Self::Floats,
        loss: &mut Self::Floats,
        dlogits: &mut Self::Floats,
    ) -> Result<()>;

    /// `v ← m·v − d·r·w − r·g; w ← w + v` on all numbers.
    fn sgd(
        &mut self,
        sgd: &Sgd,
        w: &mut Self::Floats,
        v: &mut Self::Floats,
        g: &Self::Floats,
    ) -> Result<()>;
}
