//! What surrounds the products: sums of their splits, gradients of biases, sums of two tensors.

use super::launch::THREADS;
use super::product::{Ends, Partial, adds};
use super::{Cuda, Floats};
use crate::backend::{Images, Sum};
use crate::error::Result;

/// Adds the splits of outputs `[images, maps, pixels]` up, into `y` from `at` on: `n` numbers that
/// the caller saw to be there.
pub(super) fn outputs(
    dev: &Cuda,
    [n, maps, pixels]: [usize; 3],
    partial: &Partial<'_>,
    ends: &Ends<'_>,
    y: &mut Floats,
    at: usize,
) -> Result<()> {
    // SAFETY: order and types are those of sum.cu; the callers saw that y holds n numbers from `at`
    // on, the bias `maps`, and the working memory all splits of n.
    unsafe {
        dev.call("sum_outputs")
            .write(y, at)
            .read(partial.work, partial.at)
            .optional_read(ends.bias, 0)
            .int(adds(ends.sum))
            .int(ends.activation)
            .int(partial.splits.count)
            .int(n)
            .int(maps)
            .int(pixels)
            .one_thread_each(n)
    }
}

/// Adds the splits of `[rows, places, inputs]` up, into `[rows, inputs, places]` of `dw` from `at` on,
/// with rows `pitch` apart: the caller saw them to be there.
pub(super) fn weights(
    dev: &Cuda,
    [rows, inputs, places, pitch]: [usize; 4],
    partial: &Partial<'_>,
    sum: Sum,
    dw: &mut Floats,
    at: usize,
) -> Result<()> {
    // SAFETY: order and types are those of sum.cu; the callers saw that dw holds the rows and the
    // working memory all splits of them.
    unsafe {
        dev.call("sum_weights")
            .write(dw, at)
            .read(partial.work, partial.at)
            .int(adds(sum))
            .int(partial.splits.count)
            .int(rows)
            .int(inputs)
            .int(places)
            .int(pitch)
            .one_thread_each(rows * inputs * places)
    }
}

pub(super) fn bias_backward(
    dev: &Cuda,
    maps: usize,
    pixels: usize,
    images: Images,
    dy: &Floats,
    sum: Sum,
    db: &mut Floats,
) -> Result<()> {
    let at = dy.images(&images, maps * pixels)?;
    db.exactly(maps)?;
    let add = adds(sum);
    // SAFETY (both launches): order and types are those of sum.cu; dy holds these images, db `maps`
    // numbers.
    if pixels == 1 {
        // SAFETY: see above.
        unsafe {
            let call = dev.call("bias_backward_units").write(db, 0).read(dy, at);
            call.int(add).int(images.len()).int(maps).one_thread_each(maps)
        }
    } else {
        // SAFETY: see above.
        unsafe {
            dev.call("bias_backward_maps")
                .write(db, 0)
                .read(dy, at)
                .int(add)
                .int(images.len())
                .int(maps)
                .int(pixels)
                .launch([maps, 1, 1], THREADS)
        }
    }
}

pub(super) fn add(
    dev: &Cuda,
    len: usize,
    images: Images,
    from: &Floats,
    to: &mut Floats,
) -> Result<()> {
    let at = from.images(&images, len)?;
    to.images(&images, len)?;
    let n = images.len() * len;
    // SAFETY: order and types are those of sum.cu; both hold n numbers from `at` on.
    unsafe { dev.call("add").write(to, at).read(from, at).int(n).one_thread_each(n) }
}
