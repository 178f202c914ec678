//! A device, as traits: its memory, its transfers, and the operations that it runs.
//!
//! Buffers live on the device and are touched only through these traits. Every operation
//! ([`crate::ops`]) is queued on the device's one compute stream and may return before it has run;
//! operations run in the order in which they were queued.

use std::fmt::Debug;
use std::ops::Range;

use bytes::Bytes;
use model::recipe::Encoding;

use crate::error::Result;
use crate::ops::{
    ActivationBackward, ActivationForward, Add, BiasBackward, Conv, ConvBackwardInputs,
    ConvBackwardWeights, ConvForward, Dropout, Fc, FcBackwardInputs, FcBackwardWeights, FcForward,
    Input, LrnBackward, LrnForward, LrnPoolBackward, LrnPoolForward, PoolBackward, PoolForward,
    Scale, Sgd, Softmax,
};
use crate::watch::Watch;

pub mod cpu;
#[expect(unsafe_code, reason = "launches and the driver's own calls, each with its argument")]
pub mod cuda;

/// Powers of two that a scaled tensor travels with: those that an f32 and its inverse both have;
/// beyond, f16 has long lost the number.
pub(crate) const EXPONENTS: std::ops::RangeInclusive<i32> = -126..=126;

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
    /// Encoding of the bytes.
    pub encoding: Encoding,
    /// The numbers were multiplied by `2^exponent` first (0 for f32).
    pub exponent: i32,
}

/// The types of a device's buffers.
pub trait Buffers: Send {
    /// A buffer of f32 on the device.
    type Floats: Send + Debug + 'static;
    /// A buffer of u8 on the device: pixels, and the positions that pooling took.
    type Bytes: Send + Debug + 'static;
}

type FloatsOf<D> = <D as Buffers>::Floats;
type BytesOf<D> = <D as Buffers>::Bytes;

/// A device that runs one kind of operation.
///
/// ```
/// use gpu_worker::backend::cpu::Cpu;
/// use gpu_worker::backend::{Backend, Run};
/// use gpu_worker::ops::Scale;
///
/// let mut device = Cpu::new(1);
/// let mut y = device.floats("y", 8)?;
/// device.run(Scale { factor: 0.5, len: 4, images: 0..2, y: &mut y })?;
/// # Ok::<(), gpu_worker::Error>(())
/// ```
pub trait Run<Op> {
    /// Queues the operation on the compute stream.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a buffer does not fit the sizes (nothing has been launched then),
    /// or the device's own error, which may belong to an earlier launch.
    fn run(&mut self, op: Op) -> Result<()>;
}

/// One device: its memory, its transfers, and all operations of a half.
///
/// # Errors
/// Methods fail as [`Run::run`] does.
pub trait Backend:
    Buffers
    + for<'a> Run<Input<'a, FloatsOf<Self>, BytesOf<Self>>>
    + for<'a> Run<ConvForward<'a, FloatsOf<Self>>>
    + for<'a> Run<ConvBackwardInputs<'a, FloatsOf<Self>>>
    + for<'a> Run<ConvBackwardWeights<'a, FloatsOf<Self>>>
    + for<'a> Run<FcForward<'a, FloatsOf<Self>>>
    + for<'a> Run<FcBackwardInputs<'a, FloatsOf<Self>>>
    + for<'a> Run<FcBackwardWeights<'a, FloatsOf<Self>>>
    + for<'a> Run<BiasBackward<'a, FloatsOf<Self>>>
    + for<'a> Run<ActivationForward<'a, FloatsOf<Self>>>
    + for<'a> Run<ActivationBackward<'a, FloatsOf<Self>>>
    + for<'a> Run<LrnForward<'a, FloatsOf<Self>>>
    + for<'a> Run<LrnBackward<'a, FloatsOf<Self>>>
    + for<'a> Run<PoolForward<'a, FloatsOf<Self>, BytesOf<Self>>>
    + for<'a> Run<PoolBackward<'a, FloatsOf<Self>, BytesOf<Self>>>
    + for<'a> Run<LrnPoolForward<'a, FloatsOf<Self>, BytesOf<Self>>>
    + for<'a> Run<LrnPoolBackward<'a, FloatsOf<Self>, BytesOf<Self>>>
    + for<'a> Run<Dropout<'a, FloatsOf<Self>>>
    + for<'a> Run<Scale<'a, FloatsOf<Self>>>
    + for<'a> Run<Add<'a, FloatsOf<Self>>>
    + for<'a> Run<Softmax<'a, FloatsOf<Self>>>
    + for<'a> Run<Sgd<'a, FloatsOf<Self>>>
{
    /// A moment on the compute stream.
    type Mark: Send + Debug;

    /// True if the gradient of a convolution's weights is cheaper right after the gradient of its
    /// inputs. Otherwise it is kept to fill a wait for the other half.
    const WEIGHTS_FOLLOW_INPUTS: bool = false;

    /// True if a normalization stores its scale, and needs the memory in [`Between`] when the
    /// pooling is part of it. Otherwise those buffers may be empty.
    ///
    /// [`Between`]: crate::ops::Between
    const STORES_NORMALIZED: bool = true;

    /// The device, for people: `cpu (AMD EPYC, 1 thread)`, `cuda:0 (…)`.
    fn name(&self) -> String;

    // ---- memory: all of it is taken before step 0

    /// A buffer of zeros.
    fn floats(&mut self, tensor: &'static str, len: usize) -> Result<Self::Floats>;
    /// A buffer of zeros.
    fn bytes(&mut self, tensor: &'static str, len: usize) -> Result<Self::Bytes>;

    /// Takes the working memory that a layer's operations need at `batch` images, so that no step
    /// has to.
    fn reserve(&mut self, conv: Option<&Conv>, fc: Option<&Fc>, batch: usize) -> Result<()> {
        let _ = (conv, fc, batch);
        Ok(())
    }

    /// Takes the memory for `n` tensors of up to `len` numbers on their way at once, each way.
    fn reserve_transfers(&mut self, len: usize, n: usize) -> Result<()> {
        let _ = (len, n);
        Ok(())
    }

    /// Notices calls to the device that don't return, and work without progress.
    fn watch(&self) -> &Watch;

    // ---- transfers: queued in order with the operations

    /// Copies floats (as f32 or f16, pieces in order, split anywhere) into `to` from number `at`
    /// on.
    fn upload(
        &mut self,
        from: &[Bytes],
        encoding: Encoding,
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
        encoding: Encoding,
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
}
