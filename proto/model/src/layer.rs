//! The vocabulary of the network tables.

/// The origin of a layer's inputs when the network is cut in two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// The maps of its own half only (conv2, conv4, conv5; conv1 reads the image).
    OwnHalf,
    /// The maps of both halves: an exchange point (paper §3.5: conv3 and the fully-connected
    /// layers).
    BothHalves,
}

/// The operation that computes a layer's pre-activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A convolution with square kernels.
    Conv {
        /// Side of the kernel.
        kernel: usize,
        /// Distance between two windows.
        stride: usize,
        /// Zeros added on each side; windows that still overhang on the right and at the bottom
        /// read zeros (ARCHITECTURE, decision 1).
        pad: usize,
    },
    /// A fully-connected layer: every output reads every input.
    FullyConnected,
}

/// An operation that follows a layer's pre-activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// The recipe's activation: ReLU (paper §3.1), or tanh for the comparison of Figure 1.
    Activation,
    /// Response normalization, paper §3.3.
    Lrn,
    /// Overlapping max pooling, paper §3.4.
    Pool,
    /// Dropout, paper §4.2.
    Dropout,
}

/// One row of a network table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// The name in parameters, spans, exchange headers and exported files.
    pub name: &'static str,
    /// Output maps (or units) of the whole network; a width factor scales them.
    pub maps: usize,
    /// Operation that computes the pre-activation.
    pub kind: Kind,
    /// Origin of the inputs when the network is cut in two.
    pub reads: Reads,
    /// Operations that follow the pre-activation, in order.
    pub after: &'static [After],
}

/// A convolution layer.
pub const fn conv(
    name: &'static str,
    maps: usize,
    kernel: usize,
    stride: usize,
    pad: usize,
    reads: Reads,
    after: &'static [After],
) -> Layer {
    Layer { name, maps, kind: Kind::Conv { kernel, stride, pad }, reads, after }
}

/// A fully-connected layer.
pub const fn fc(name: &'static str, maps: usize, reads: Reads, after: &'static [After]) -> Layer {
    Layer { name, maps, kind: Kind::FullyConnected, reads, after }
}
