//! Activations: max(0, x), and tanh.

use model::recipe::Activation;

use super::{Cuda, Floats};
use crate::backend::Images;
use crate::error::Result;

pub(super) fn forward(
    dev: &Cuda,
    activation: Activation,
    len: usize,
    images: Images,
    y: &mut Floats,
) -> Result<()> {
    let at = y.images(&images, len)?;
    let n = images.len() * len;
    let name = match activation {
        Activation::Relu => "relu_forward",
        Activation::Tanh => "tanh_forward",
    };
    // SAFETY: order and types are those of relu.cu; y holds n numbers from `at` on.
    unsafe { dev.call(name).write(y, at).int(n).one_thread_each(n) }
}

pub(super) fn backward(
    dev: &Cuda,
    activation: Activation,
    len: usize,
    images: Images,
    y: &Floats,
    dy: &mut Floats,
) -> Result<()> {
    let at = y.images(&images, len)?;
    dy.images(&images, len)?;
    let n = images.len() * len;
    let name = match activation {
        Activation::Relu => "relu_backward",
        Activation::Tanh => "tanh_backward",
    };
    // SAFETY: order and types are those of relu.cu; y and dy hold n numbers from `at` on.
    unsafe { dev.call(name).write(dy, at).read(y, at).int(n).one_thread_each(n) }
}
