//! Adds up the partial sums of split-K products.

use super::gemm::{KernelEpilogue, Partial, adds};
use super::{Cuda, Floats};
use crate::error::Result;
use crate::ops::Accumulate;

/// Adds the splits of outputs `[images, maps, pixels]` up, into `y` from `at` on: `n` numbers that
/// the caller saw to be there.
pub(super) fn outputs(
    dev: &Cuda,
    [n, maps, pixels]: [usize; 3],
    partial: &Partial<'_>,
    epilogue: &KernelEpilogue<'_>,
    y: &mut Floats,
    at: usize,
) -> Result<()> {
    // SAFETY: order and types are those of reduce.cu; the callers saw that y holds n numbers from
    // `at` on, the bias `maps`, and the working memory all splits of n.
    unsafe {
        dev.call("reduce_outputs")
            .write(y, at)
            .read(partial.work, partial.at)
            .optional_read(epilogue.bias, 0)
            .int(adds(epilogue.accumulate))
            .int(epilogue.activation)
            .int(partial.splits.count)
            .int(n)
            .int(maps)
            .int(pixels)
            .one_thread_each(n)
    }
}

/// Adds the splits of `[rows, places, inputs]` up, into `[rows, inputs, places]` of `dw` from `at`
/// on, with rows `pitch` apart: the caller saw them to be there.
pub(super) fn weights(
    dev: &Cuda,
    [rows, inputs, places, pitch]: [usize; 4],
    partial: &Partial<'_>,
    accumulate: Accumulate,
    dw: &mut Floats,
    at: usize,
) -> Result<()> {
    // SAFETY: order and types are those of reduce.cu; the callers saw that dw holds the rows and
    // the working memory all splits of them.
    unsafe {
        dev.call("reduce_weights")
            .write(dw, at)
            .read(partial.work, partial.at)
            .int(adds(accumulate))
            .int(partial.splits.count)
            .int(rows)
            .int(inputs)
            .int(places)
            .int(pitch)
            .one_thread_each(rows * inputs * places)
    }
}
