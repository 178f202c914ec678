//! Full layers: products cut into splits of their depth, then the splits' sum.

use super::memory::check_part;
use super::product::{COLUMNS, Ends, Partial, Product, ROWS, Splits, THREADS, adds, ends};
use super::{Cuda, Floats, sum as sums};
use crate::backend::{Finish, Full, Images, Part, Sum};
use crate::error::Result;

/// Images whose tiles the cut reckons with. A constant: the cut must not depend on the number of
/// images, or the bits would.
const USUAL_IMAGES: usize = 128;

/// The products of one part of `inputs` inputs: outputs, gradients of the inputs, of the weights.
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

/// Numbers of working memory that any pass over `batch` images needs, whatever the part.
pub(super) fn scratch_len(full: &Full, batch: usize) -> usize {
    let wider = USUAL_IMAGES * full.inputs.max(full.units);
    let outputs = Splits::most(wider).div_ceil(USUAL_IMAGES) * batch;
    // Weights: only where there are few.
    outputs.max(Splits::most(0))
}

#[expect(clippy::too_many_arguments, reason = "the trait's list")]
pub(super) fn forward(
    dev: &mut Cuda,
    full: &Full,
    images: Images,
    x: &Floats,
    part: &Part,
    w: &Floats,
    sum: Sum,
    finish: Option<Finish<'_, Floats>>,
    y: &mut Floats,
) -> Result<()> {
    check_part(part, full.inputs)?;
    let (inputs, units, n) = (part.0.len(), full.units, images.len());
    let (x_at, y_at) = (x.images(&images, inputs)?, y.images(&images, units)?);
    w.exactly(full.inputs * units)?;
    let ends = ends(sum, finish.as_ref(), units)?;
    let [product, ..] = products(units, inputs, n);
    let splits = product.splits;
    let mut partial = dev.take_scratch(splits.count * n * units)?;
    // SAFETY: order and types are those of full.cu; the lengths are checked above, and the kernel
    // reads rows below n and units, of w the part's columns.
    let multiplied = unsafe {
        let call = dev.call("full_forward").write(&mut partial, 0);
        call.read(x, x_at)
            .read(w, part.0.start)
            .int(n)
            .int(units)
            .int(inputs)
            .int(full.inputs)
            .int(splits.strips)
            .launch(product.grid(), THREADS)
    };
    let added = multiplied.and_then(|()| {
        let partial = Partial { work: &partial, at: 0, splits };
        sums::outputs(dev, [n * units, units, 1], &partial, &ends, y, y_at)
    });
    dev.give_scratch(partial);
    added
}

pub(super) fn backward_inputs(
    dev: &mut Cuda,
    full: &Full,
    images: Images,
    dy: &Floats,
    w: &Floats,
    part: &Part,
    dx: &mut Floats,
) -> Result<()> {
    check_part(part, full.inputs)?;
    let (inputs, units, n) = (part.0.len(), full.units, images.len());
    let (dy_at, dx_at) = (dy.images(&images, units)?, dx.images(&images, inputs)?);
    w.exactly(full.inputs * units)?;
    let [_, product, _] = products(units, inputs, n);
    let splits = product.splits;
    let mut partial = dev.take_scratch(splits.count * n * inputs)?;
    // SAFETY: order and types are those of full.cu; the lengths are checked above, and the kernel
    // reads rows below n and units, of w the part's columns.
    let multiplied = unsafe {
        let call = dev.call("full_backward_inputs").write(&mut partial, 0);
        call.read(dy, dy_at)
            .read(w, part.0.start)
            .int(n)
            .int(units)
            .int(inputs)
            .int(full.inputs)
            .int(splits.strips)
            .launch(product.grid(), THREADS)
    };
    let added = multiplied.and_then(|()| {
        let partial = Partial { work: &partial, at: 0, splits };
        sums::outputs(dev, [n * inputs, inputs, 1], &partial, &Ends::NONE, dx, dx_at)
    });
    dev.give_scratch(partial);
    added
}

#[expect(clippy::too_many_arguments, reason = "the trait's list")]
pub(super) fn backward_weights(
    dev: &mut Cuda,
    full: &Full,
    images: Images,
    x: &Floats,
    part: &Part,
    dy: &Floats,
    sum: Sum,
    dw: &mut Floats,
) -> Result<()> {
    check_part(part, full.inputs)?;
    let (inputs, units, n) = (part.0.len(), full.units, images.len());
    let (x_at, dy_at) = (x.images(&images, inputs)?, dy.images(&images, units)?);
    dw.exactly(full.inputs * units)?;
    let [.., product] = products(units, inputs, n);
    let splits = product.splits;
    let multiply = |dev: &Cuda, to: &mut Floats, at: usize, pitch: usize, sum: Sum| {
        // SAFETY: order and types are those of full.cu; the lengths are checked above, and `to` has
        // room for all splits of units rows that are `pitch` apart.
        unsafe {
            let call = dev.call("full_backward_weights").write(to, at);
            call.read(dy, dy_at)
                .read(x, x_at)
                .int(adds(sum))
                .int(n)
                .int(units)
                .int(inputs)
                .int(pitch)
                .int(splits.strips)
                .launch(product.grid(), THREADS)
        }
    };
    if splits.count == 1 {
        return multiply(dev, dw, part.0.start, full.inputs, sum);
    }
    let mut work = dev.take_scratch(splits.count * units * inputs)?;
    let added = multiply(dev, &mut work, 0, inputs, Sum::Start).and_then(|()| {
        let partial = Partial { work: &work, at: 0, splits };
        sums::weights(dev, [units, inputs, 1, full.inputs], &partial, sum, dw, part.0.start)
    });
    dev.give_scratch(work);
    added
}
