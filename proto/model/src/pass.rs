//! The passes of a layer in a training step.

/// A kind of work on a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Computes activations.
    Forward,
    /// Computes the gradient of the inputs.
    Inputs,
    /// Computes the gradients of weights and biases.
    Weights,
    /// Changes weights and biases, with momentum and decay.
    Update,
}

impl Pass {
    /// All passes, in the order of a step.
    pub const ALL: [Self; 4] = [Self::Forward, Self::Inputs, Self::Weights, Self::Update];

    /// The name in records and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Inputs => "backward_inputs",
            Self::Weights => "backward_weights",
            Self::Update => "update",
        }
    }

    /// Returns true if the pass is a matrix product: of inputs and weights, or of the outputs'
    /// gradient and one of the two. The gradient of the first layer's inputs, the pictures, is not
    /// computed.
    pub const fn multiplies(self, is_first_layer: bool) -> bool {
        match self {
            Self::Forward | Self::Weights => true,
            Self::Inputs => !is_first_layer,
            Self::Update => false,
        }
    }
}
