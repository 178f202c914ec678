//! Dropout (paper §4.2): the same masks as on the CPU, bit for bit.

use super::launch::THREADS;
use super::{Cuda, Floats};
use crate::backend::{Dropout, Images};
use crate::error::Result;

pub(super) fn dropout(dev: &Cuda, dropout: &Dropout, images: Images, y: &mut Floats) -> Result<()> {
    let at = y.images(&images, dropout.units)?;
    // A word below this is silence: a whole number, so that no rounding decides.
    let threshold = (f64::from(dropout.rate) * 4_294_967_296.0).ceil() as u64;
    // A thread takes the four units of one draw; an image may begin inside one.
    let groups = dropout.units / 4 + 2;
    let first = dropout.first_sample + images.start as u64;
    // SAFETY: order and types are those of dropout.cu; y holds these images.
    unsafe {
        dev.call("dropout")
            .write(y, at)
            .long(dropout.seed)
            .long(threshold)
            .long(first)
            .int(dropout.stream as usize)
            .int(dropout.units)
            .int(dropout.first_unit)
            .int(dropout.of_units)
            .launch([groups.div_ceil(THREADS as usize), images.len(), 1], THREADS)
    }
}

pub(super) fn scale(
    dev: &Cuda,
    factor: f32,
    len: usize,
    images: Images,
    y: &mut Floats,
) -> Result<()> {
    let at = y.images(&images, len)?;
    let n = images.len() * len;
    // SAFETY: order and types are those of dropout.cu; y holds n numbers from `at` on.
    unsafe { dev.call("scale").write(y, at).float(factor).int(n).one_thread_each(n) }
}
