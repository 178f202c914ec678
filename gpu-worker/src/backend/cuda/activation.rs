//! Activations: max(0, x), and tanh.

use model::recipe::Activation;

use super::{Cuda, Floats};
use crate::backend::Run;
use crate::error::Result;
use crate::ops::{ActivationBackward, ActivationForward};

impl Run<ActivationForward<'_, Floats>> for Cuda {
    fn run(&mut self, op: ActivationForward<'_, Floats>) -> Result<()> {
        let ActivationForward { activation, len, images, y } = op;
        let at = y.images(&images, len)?;
        let n = images.len() * len;
        let name = match activation {
            Activation::Relu => "relu_forward",
            Activation::Tanh => "tanh_forward",
        };
        // SAFETY: order and types are those of activation.cu; y holds n numbers from `at` on.
        unsafe { self.call(name).write(y, at).int(n).one_thread_each(n) }
    }
}

impl Run<ActivationBackward<'_, Floats>> for Cuda {
    fn run(&mut self, op: ActivationBackward<'_, Floats>) -> Result<()> {
        let ActivationBackward { activation, len, images, y, dy } = op;
        let at = y.images(&images, len)?;
        dy.images(&images, len)?;
        let n = images.len() * len;
        let name = match activation {
            Activation::Relu => "relu_backward",
            Activation::Tanh => "tanh_backward",
        };
        // SAFETY: order and types are those of activation.cu; y and dy hold n numbers from `at` on.
        unsafe { self.call(name).write(dy, at).read(y, at).int(n).one_thread_each(n) }
    }
}
