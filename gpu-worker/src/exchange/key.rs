//! The names of the tensors that the halves send each other.

use std::borrow::Cow;
use std::fmt;

/// The minibatch that a tensor belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchId {
    /// The minibatch of a training step: the number of steps done before.
    Train(u64),
    /// A minibatch of an evaluation.
    Eval {
        /// Number of the minibatch in its split.
        batch: u64,
        /// 0: the center crop; 1 to 10: the ten test views.
        view: u32,
    },
}

/// Direction through the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Activations, from the pictures to the loss.
    Forward,
    /// Gradients, from the loss to the pictures.
    Backward,
}

/// The name of one tensor of the exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorKey {
    /// The minibatch.
    pub batch: BatchId,
    /// The exchange point: the layer that reads the tensor, or `logits`. A received name need not
    /// be one of ours.
    pub at: Cow<'static, str>,
    /// Activations or gradient.
    pub direction: Direction,
    /// Number of the micro-batch in its minibatch.
    pub micro_batch: usize,
    /// Digest of the minibatch: both halves must have been given the same pictures.
    pub digest: u64,
}

impl fmt::Display for TensorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.batch {
            BatchId::Train(step) => write!(f, "step {step}")?,
            BatchId::Eval { batch, view } => write!(f, "evaluation batch {batch} view {view}")?,
        }
        let Self { at, direction, micro_batch, digest, .. } = self;
        write!(f, " {at} {direction} micro-batch {micro_batch} of minibatch {digest:016x}")
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forward => "activations",
            Self::Backward => "gradient",
        })
    }
}
