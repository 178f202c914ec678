//! Full layers: products cut into splits of their depth, then the splits' sum.

use super::launch::THREADS as EACH;
use super::memory::check_part;
use super::product::{COLUMNS, ROWS, Splits, THREADS, adds, ends};
use super::{Cuda, Floats};
use crate::backend::{Finish, Full, Images, Part, Sum};
use crate::error::Result;

/// Images whose tiles the cut reckons with. A constant: the cut must not depend on the number of
/// images, or the bits would.
const USUAL_IMAGES: usize = 128;

/// How sums of `depth` products into `width` outputs an image are cut.
fn splits(depth: usize, width: usize) -> Splits {
    Splits::new(depth, width.div_ceil(COLUMNS) * USUAL_IMAGES.div_ceil(ROWS))
}

/// Numbers of working memory that any pass over `batch` images needs, whatever the part.
pub(super) fn scratch_len(full: &Full, batch: usize) -> usize {
    let wider = USUAL_IMAGES * full.inputs.max(full.units);
    Splits::most(wider).div_ceil(USUAL_IMAGES) * batch
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
    let (bias, activation) = ends(finish.as_ref(), units)?;
    let splits = splits(inputs, units);
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
            .launch([units.div_ceil(COLUMNS), n.div_ceil(ROWS), splits.count], THREADS)
    };
    let work = Work { splits, n, width: units };
    let added = multiplied.and_then(|()| work.sum(dev, &partial, sum, bias, activation, y, y_at));
    dev.give_scratch(partial);
    added
}

/// Partial sums `[splits, n, width]`.
struct Work {
    splits: Splits,
    n: usize,
    width: usize,
}

impl Work {
    #[expect(clippy::too_many_arguments, reason = "outputs, inputs, sizes: a launch's list")]
    fn sum(
        &self,
        dev: &Cuda,
        partial: &Floats,
        sum: Sum,
        bias: Option<&Floats>,
        activation: usize,
        y: &mut Floats,
        at: usize,
    ) -> Result<()> {
        let numbers = self.n * self.width;
        // SAFETY: order and types are those of full.cu; the callers saw that y holds `numbers` from
        // `at` on, bias `width`, and partial `splits` times `numbers`.
        unsafe {
            dev.call("full_sum")
                .write(y, at)
                .read(partial, 0)
                .optional_read(bias, 0)
                .int(adds(sum))
                .int(activation)
                .int(self.splits.count)
                .int(self.n)
                .int(self.width)
                .launch([numbers.div_ceil(EACH as usize), 1, 1], EACH)
        }
    }
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
    let splits = splits(units, inputs);
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
            .launch([inputs.div_ceil(COLUMNS), n.div_ceil(ROWS), splits.count], THREADS)
    };
    let work = Work { splits, n, width: inputs };
    let added = multiplied.and_then(|()| work.sum(dev, &partial, Sum::Start, None, 0, dx, dx_at));
    dev.give_scratch(partial);
    added
}

#[expect(clippy::too_many_arguments, reason = "the trait's list")]
pub(super) fn backward_weights(
    dev: &Cuda,
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
    // SAFETY: order and types are those of full.cu; the lengths are checked above, and the kernel
    // writes the part's columns of dw's rows.
    unsafe {
        dev.call("full_backward_weights")
            .write(dw, part.0.start)
            .read(dy, dy_at)
            .read(x, x_at)
            .int(adds(sum))
            .int(n)
            .int(units)
            .int(inputs)
            .int(full.inputs)
            .launch([inputs.div_ceil(COLUMNS), units.div_ceil(ROWS), 1], THREADS)
    }
}
