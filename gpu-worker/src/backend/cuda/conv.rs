//! Convolution: maps laid out for a product, which then gathers from there.

use super::launch::THREADS as EACH;
use super::product::{Ends, Partial, THREADS, adds, ends};
use super::{Cuda, Floats, sum as sums};
use crate::backend::{Conv, Finish, Images, Part, Sum};
use crate::error::Result;

mod sizes; // of its products, and of what lies in the working memory

use sizes::Sizes;
pub use sizes::products;
pub(super) use sizes::scratch_len;

/// Lays out `n` images of `x` and writes the tables.
fn lay_out(
    dev: &Cuda,
    sizes: &Sizes,
    n: usize,
    x: &Floats,
    at: usize,
    work: &Floats,
) -> Result<()> {
    sizes.check_tables(n)?;
    let [offsets, places, laid, _] = sizes.regions(n);
    let blocks = sizes.plane().div_ceil(EACH as usize);
    // SAFETY: order and types are those of conv.cu; x holds n images from `at` on (the callers
    // looked), and the regions of `work`, which only this launch touches now, are as large as
    // regions() says. They go by address, since they lie in one buffer. The
    // kernel's `int lead` may be negative: it is the lower half of the long.
    unsafe {
        dev.call("conv_layout")
            .long(work.address(laid))
            .long(work.address(offsets))
            .long(work.address(places))
            .read(x, at)
            .int(sizes.side)
            .int(sizes.apart)
            .long(sizes.lead as u64)
            .int(sizes.stride)
            .int(sizes.kernel)
            .int(sizes.out_side)
            .int(sizes.depth())
            .launch([n * sizes.groups * sizes.inputs, blocks, 1], EACH)
    }
}

/// The product of laid-out maps and weights, into `y` from `at` on. In the working memory the
/// weights begin at `w`, partial sums behind them.
#[expect(clippy::too_many_arguments, reason = "outputs, inputs, sizes: a launch's list")]
fn multiply(
    dev: &Cuda,
    sizes: &Sizes,
    n: usize,
    work: &Floats,
    w: usize,
    ends: &Ends<'_>,
    y: &mut Floats,
    at: usize,
) -> Result<()> {
    let product = sizes.outputs(n);
    let splits = product.splits;
    let launch = |to: u64, ends: &Ends<'_>| {
        let [offsets, places, laid, _] = sizes.regions(n);
        // SAFETY: order and types are those of conv.cu; at `to` there is room for all splits of n
        // images; the regions of `work` are as lay_out() and lay_out_weights() left them and go by
        // address, since they lie in one buffer.
        unsafe {
            dev.call("conv_forward")
                .long(to)
                .long(work.address(laid))
                .long(work.address(offsets))
                .long(work.address(places))
                .long(work.address(w))
                .optional_read(ends.bias, 0)
                .int(adds(ends.sum))
                .int(ends.activation)
                .int(n)
                .int(sizes.groups)
                .int(sizes.maps)
                .int(sizes.pixels())
                .int(sizes.depth())
                .int(sizes.inputs * sizes.plane())
                .int(splits.strips)
                .launch(product.grid(), THREADS)
        }
    };
    if splits.count == 1 {
        return launch(y.address(at), ends);
    }
    let partial = w + sizes.laid_weights();
    launch(work.address(partial), &Ends::NONE)?;
    let numbers = [n * sizes.output(), sizes.groups * sizes.maps, sizes.pixels()];
    sums::outputs(dev, numbers, &Partial { work, at: partial, splits }, ends, y, at)
}

#[expect(clippy::too_many_arguments, reason = "the trait's list")]
pub(super) fn forward(
    dev: &mut Cuda,
    conv: &Conv,
    images: Images,
    x: &Floats,
    part: &Part,
    w: &Floats,
    sum: Sum,
    finish: Option<Finish<'_, Floats>>,
    y: &mut Floats,
) -> Result<()> {
    let sizes = Sizes::new(conv, part)?;
    let n = images.len();
    let (x_at, y_at) = (x.images(&images, sizes.source())?, y.images(&images, sizes.output())?);
    let (from, pitch) = part_of_weights(conv, part);
    w.exactly(conv.maps * pitch)?;
    let ends = ends(sum, finish.as_ref(), conv.maps)?;
    let work = dev.take_scratch(sizes.scratch(n))?;
    let laid = sizes.regions(n)[3];
    let steps = Steps { map: pitch, input: conv.kernel * conv.kernel, turned: false };
    let done = lay_out(dev, &sizes, n, x, x_at, &work)
        .and_then(|()| lay_out_weights(dev, &sizes, w, from, &steps, work.address(laid)))
        .and_then(|()| multiply(dev, &sizes, n, &work, laid, &ends, y, y_at));
    dev.give_scratch(work);
    done
}

/// Where a row's part of the weights begins, and the length of a row.
fn part_of_weights(conv: &Conv, part: &Part) -> (usize, usize) {
    let kernel = conv.kernel * conv.kernel;
    (part.0.start * kernel, conv.inputs / conv.groups * kernel)
}

pub(super) fn backward_inputs(
    dev: &mut Cuda,
    conv: &Conv,
    images: Images,
    dy: &Floats,
    w: &Floats,
    part: &Part,
    dx: &mut Floats,
) -> Result<()> {
    let sizes = Sizes::new(conv, part)?.turned();
    dy.images(&images, sizes.source())?;
    dx.images(&images, sizes.output())?;
    let (from, pitch) = part_of_weights(conv, part);
    w.exactly(conv.maps * pitch)?;
    let at_once = sizes.at_once(images.len());
    let work = dev.take_scratch(sizes.scratch(at_once))?;
    let laid = sizes.regions(at_once)[3];
    let steps = Steps { map: conv.kernel * conv.kernel, input: pitch, turned: true };
    let mut done = lay_out_weights(dev, &sizes, w, from, &steps, work.address(laid));
    for first in images.clone().step_by(at_once.max(1)) {
        let n = at_once.min(images.end - first);
        let (dy_at, dx_at) = (first * sizes.source(), first * sizes.output());
        done = done
            .and_then(|()| lay_out(dev, &sizes, n, dy, dy_at, &work))
            .and_then(|()| multiply(dev, &sizes, n, &work, laid, &Ends::NONE, dx, dx_at));
    }
    dev.give_scratch(work);
    done
}

/// How far apart two maps' and two inputs' weights are in w, and whether kernels turn round.
struct Steps {
    map: usize,
    input: usize,
    turned: bool,
}

/// Lays out the part of the weights that begins at `from`, at address `to`.
fn lay_out_weights(
    dev: &Cuda,
    sizes: &Sizes,
    w: &Floats,
    from: usize,
    steps: &Steps,
    to: u64,
) -> Result<()> {
    // SAFETY: order and types are those of conv.cu; w is whole (the callers looked), and the
    // working memory has room for as many numbers as the part has.
    unsafe {
        dev.call("conv_weights")
            .long(to)
            .read(w, from)
            .int(sizes.groups)
            .int(sizes.maps)
            .int(sizes.inputs)
            .int(sizes.kernel * sizes.kernel)
            .int(steps.map)
            .int(steps.input)
            .int(usize::from(steps.turned))
            .one_thread_each(sizes.weights())
    }
}

#[expect(clippy::too_many_arguments, reason = "the trait's list")]
pub(super) fn backward_weights(
    dev: &mut Cuda,
    conv: &Conv,
    images: Images,
    x: &Floats,
    part: &Part,
    dy: &Floats,
    sum: Sum,
    dw: &mut Floats,
) -> Result<()> {
    let sizes = Sizes::new(conv, part)?;
    let n = images.len();
    let (x_at, dy_at) = (x.images(&images, sizes.source())?, dy.images(&images, sizes.output())?);
    let (from, pitch) = part_of_weights(conv, part);
    dw.exactly(conv.maps * pitch)?;
    let product = sizes.weight_gradients(n);
    let splits = product.splits;
    let [places, laid, dy_laid, partial] = sizes.weight_regions(n);
    let work = dev.take_scratch(partial + splits.count * sizes.weights())?;
    let source = MapsLast {
        maps: sizes.groups * sizes.inputs,
        side: sizes.side,
        lead: sizes.lead,
        line: sizes.line(),
        places: Some((work.address(places), &sizes)),
    };
    let output = MapsLast {
        maps: conv.maps,
        side: sizes.out_side,
        lead: 0,
        line: sizes.out_side,
        places: None,
    };
    let multiplied = source
        .lay_out(dev, n, x, x_at, work.address(laid))
        .and_then(|()| output.lay_out(dev, n, dy, dy_at, work.address(dy_laid)))
        .and_then(|()| {
            // SAFETY: order and types are those of conv.cu; the regions of `work` are as lay_out()
            // left them, the last has room for all splits, and they go by address, since they lie
            // in one buffer.
            unsafe {
                dev.call("conv_backward_weights")
                    .long(work.address(partial))
                    .long(work.address(dy_laid))
                    .long(work.address(laid))
                    .long(work.address(places))
                    .int(sizes.groups)
                    .int(sizes.maps)
                    .int(sizes.inputs)
                    .int(sizes.kernel)
                    .int(sizes.line())
                    .int(product.depth)
                    .int(splits.strips)
                    .launch(product.grid(), THREADS)
            }
        });
    let added = multiplied.and_then(|()| {
        let partial = Partial { work: &work, at: partial, splits };
        let window = sizes.kernel * sizes.kernel;
        sums::weights(dev, [conv.maps, sizes.inputs, window, pitch], &partial, sum, dw, from)
    });
    dev.give_scratch(work);
    added
}

/// Maps to be laid out so that neighbours are maps, with zeros around them.
struct MapsLast<'a> {
    maps: usize,
    side: usize,
    lead: isize,
    line: usize,
    /// Where the table of places goes, and the windows it is for.
    places: Option<(u64, &'a Sizes)>,
}

impl MapsLast<'_> {
    fn lay_out(&self, dev: &Cuda, n: usize, x: &Floats, at: usize, to: u64) -> Result<()> {
        let (places, windows) = self.places.map_or((0, None), |(to, sizes)| (to, Some(sizes)));
        let grid = [n * self.line, self.line.div_ceil(32), self.maps.div_ceil(32)];
        // SAFETY: order and types are those of conv.cu; x holds n images from `at` on (the callers
        // looked), and at `to` and `places` there is as much room as weight_regions() says. The
        // kernel's `int lead` may be negative: it is the lower half of the long.
        unsafe {
            dev.call("conv_maps_last")
                .long(to)
                .long(places)
                .read(x, at)
                .int(self.side)
                .long(self.lead as u64)
                .int(self.line)
                .int(self.maps)
                .int(windows.map_or(1, |sizes| sizes.stride))
                .int(windows.map_or(1, |sizes| sizes.out_side))
                .int(windows.map_or(0, |sizes| n * sizes.pixels()))
                .launch(grid, EACH)
        }
    }
}
