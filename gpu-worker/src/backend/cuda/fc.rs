//! Fully-connected layers: split-K products, then the sums of their splits.

use super::gemm::{
    COLUMNS, KernelEpilogue, Partial, Product, ROWS, Splits, THREADS, adds, kernel_epilogue,
};
use super::{Cuda, Floats, reduce};
use crate::backend::Run;
use crate::error::Result;
use crate::ops::{Accumulate, Fc, FcBackwardInputs, FcBackwardWeights, FcForward};

/// Number of images for which the split of a product is chosen. A constant: if the split depended
/// on the number of images, the bits would too.
const USUAL_IMAGES: usize = 128;

/// The products of one range of `inputs` inputs: outputs, gradients of the inputs, of the weights.
pub fn products(units: usize, inputs: usize, n: usize) -> [Product; 3] {
    let of_images = |depth: usize, columns: usize| {
        let tiles = columns.div_ceil(COLUMNS) * USUAL_IMAGES.div_ceil(ROWS);
        Product { rows: n, columns, depth, groups: 1, splits: Splits::new(depth, tiles) }
    };
    let tiles = inputs.div_ceil(COLUMNS) * units.div_ceil(ROWS);
    let splits = Splits::new(n, tiles);
    let weights = Product { rows: units, columns: inputs, depth: n, groups: 1, splits };
    [of_images(inputs, units), of_images(units, inputs), weights]
}

/// Numbers of working memory that any pass over `batch` images needs, whatever the range.
pub(super) fn scratch_len(fc: &Fc, batch: usize) -> usize {
    let wider = USUAL_IMAGES * fc.inputs.max(fc.units);
    let outputs = Splits::most(wider).div_ceil(USUAL_IMAGES) * batch;
    // Weights: only where there are few.
    outputs.max(Splits::most(0))
}

impl Run<FcForward<'_, Floats>> for Cuda {
    fn run(&mut self, op: FcForward<'_, Floats>) -> Result<()> {
        let FcForward { fc, images, x, range, w, accumulate, epilogue, y } = op;
        range.check(fc.inputs)?;
        let (inputs, units, n) = (range.0.len(), fc.units, images.len());
        let (x_at, y_at) = (x.images(&images, inputs)?, y.images(&images, units)?);
        w.exactly(fc.inputs * units)?;
        let epilogue = kernel_epilogue(accumulate, epilogue.as_ref(), units)?;
        let [product, ..] = products(units, inputs, n);
        let splits = product.splits;
        self.with_scratch(splits.count * n * units, |dev, partial| {
            // SAFETY: order and types are those of fc.cu; the lengths are checked above, and the
            // kernel reads rows below n and units, of w the range's columns.
            unsafe {
                dev.call("fc_forward")
                    .write(partial, 0)
                    .read(x, x_at)
                    .read(w, range.0.start)
                    .int(n)
                    .int(units)
                    .int(inputs)
                    .int(fc.inputs)
                    .int(splits.strips)
                    .launch(product.grid(), THREADS)
            }?;
            let partial = Partial { work: partial, at: 0, splits };
            reduce::outputs(dev, [n * units, units, 1], &partial, &epilogue, y, y_at)
        })
    }
}

impl Run<FcBackwardInputs<'_, Floats>> for Cuda {
    fn run(&mut self, op: FcBackwardInputs<'_, Floats>) -> Result<()> {
        let FcBackwardInputs { fc, images, dy, w, range, dx } = op;
        range.check(fc.inputs)?;
        let (inputs, units, n) = (range.0.len(), fc.units, images.len());
        let (dy_at, dx_at) = (dy.images(&images, units)?, dx.images(&images, inputs)?);
        w.exactly(fc.inputs * units)?;
        let [_, product, _] = products(units, inputs, n);
        let splits = product.splits;
        self.with_scratch(splits.count * n * inputs, |dev, partial| {
            // SAFETY: order and types are those of fc.cu; the lengths are checked above, and the
            // kernel reads rows below n and units, of w the range's columns.
            unsafe {
                dev.call("fc_backward_inputs")
                    .write(partial, 0)
                    .read(dy, dy_at)
                    .read(w, range.0.start)
                    .int(n)
                    .int(units)
                    .int(inputs)
                    .int(fc.inputs)
                    .int(splits.strips)
                    .launch(product.grid(), THREADS)
            }?;
            let partial = Partial { work: partial, at: 0, splits };
            let numbers = [n * inputs, inputs, 1];
            reduce::outputs(dev, numbers, &partial, &KernelEpilogue::NONE, dx, dx_at)
        })
    }
}

impl Run<FcBackwardWeights<'_, Floats>> for Cuda {
    fn run(&mut self, op: FcBackwardWeights<'_, Floats>) -> Result<()> {
        let FcBackwardWeights { fc, images, x, range, dy, accumulate, dw } = op;
        range.check(fc.inputs)?;
        let (inputs, units, n) = (range.0.len(), fc.units, images.len());
        let (x_at, dy_at) = (x.images(&images, inputs)?, dy.images(&images, units)?);
        dw.exactly(fc.inputs * units)?;
        let [.., product] = products(units, inputs, n);
        let splits = product.splits;
        let multiply = |dev: &Self, to: &mut Floats, at, pitch, accumulate| {
            // SAFETY: order and types are those of fc.cu; the lengths are checked above, and `to`
            // has room for all splits of units rows that are `pitch` apart.
            unsafe {
                dev.call("fc_backward_weights")
                    .write(to, at)
                    .read(dy, dy_at)
                    .read(x, x_at)
                    .int(adds(accumulate))
                    .int(n)
                    .int(units)
                    .int(inputs)
                    .int(pitch)
                    .int(splits.strips)
                    .launch(product.grid(), THREADS)
            }
        };
        if splits.count == 1 {
            return multiply(self, dw, range.0.start, fc.inputs, accumulate);
        }
        self.with_scratch(splits.count * units * inputs, |dev, work| {
            multiply(dev, work, 0, inputs, Accumulate::Overwrite)?;
            let partial = Partial { work, at: 0, splits };
            let rows = [units, inputs, 1, fc.inputs];
            reduce::weights(dev, rows, &partial, accumulate, dw, range.0.start)
        })
    }
}
