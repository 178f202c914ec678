//! Convolution: maps laid out for a product, which then gathers from there.

use super::launch::THREADS as EACH;
use super::memory::check_part;
use super::product::{COLUMNS, Ends, Partial, Product, ROWS, Splits, THREADS, adds, ends, filled};
use super::{Cuda, Floats, sum as sums};
use crate::backend::{Conv, Finish, Images, Part, Sum};
use crate::error::{Error, Result};

/// Images whose tiles the cut of outputs reckons with: a slice. A constant: the cut must not depend
/// on the number of images, or the bits would.
const USUAL_IMAGES: usize = 32;

/// Regions of the working memory begin at multiples of this many numbers: 128 bytes.
const ALIGNED: usize = 32;

/// A convolution of one part as the kernels see it: source maps of `side`, read by windows at
/// distance `stride` once its numbers stand `apart`, behind `lead` zeros (or −`lead` numbers).
#[derive(Debug, Clone, Copy)]
struct Sizes {
    groups: usize,
    /// Source maps and output maps of a group.
    inputs: usize,
    maps: usize,
    side: usize,
    out_side: usize,
    kernel: usize,
    stride: usize,
    apart: usize,
    lead: isize,
}

impl Sizes {
    fn new(conv: &Conv, part: &Part) -> Result<Self> {
        check_part(part, conv.inputs)?;
        if conv.groups > 1 && part.0 != (0..conv.inputs) {
            return Err(Error::Shape { tensor: "part", got: part.0.len(), want: conv.inputs });
        }
        let &Conv { groups, side, out_side, kernel, stride, pad, .. } = conv;
        let (inputs, maps) = (part.0.len() / groups, conv.maps / groups);
        let lead = pad as isize;
        Ok(Self { groups, inputs, maps, side, out_side, kernel, stride, apart: 1, lead })
    }

    /// The convolution whose output is the gradient of this one's inputs: it reads this one's
    /// output gradient, the numbers `stride` apart, with every kernel turned round.
    fn turned(&self) -> Self {
        Self {
            inputs: self.maps,
            maps: self.inputs,
            side: self.out_side,
            out_side: self.side,
            stride: 1,
            apart: self.stride,
            lead: self.kernel as isize - 1 - self.lead,
            ..*self
        }
    }

    /// Products of an output's sum.
    fn depth(&self) -> usize {
        self.inputs * self.kernel * self.kernel
    }

    fn pixels(&self) -> usize {
        self.out_side * self.out_side
    }

    /// Numbers of an image's source maps and output maps.
    fn source(&self) -> usize {
        self.groups * self.inputs * self.side * self.side
    }

    fn output(&self) -> usize {
        self.groups * self.maps * self.pixels()
    }

    fn weights(&self) -> usize {
        self.groups * self.maps * self.depth()
    }

    /// As many, up to where the next region may begin.
    fn turned_weights(&self) -> usize {
        self.weights().next_multiple_of(ALIGNED)
    }

    /// Numbers of one source map as conv_layout leaves it.
    fn plane(&self) -> usize {
        let line = self.out_side + (self.kernel - 1) / self.stride;
        (self.stride.min(self.kernel) * line).pow(2)
    }

    /// Where the regions of the working memory begin, `n` images at once: offsets of k, places of
    /// pixels, laid-out maps, and the rest.
    fn regions(&self, n: usize) -> [usize; 4] {
        let places = (filled(self.depth()) + 8).next_multiple_of(ALIGNED);
        let laid = places + self.pixels().next_multiple_of(ALIGNED);
        let len = n * self.groups * self.inputs * self.plane();
        [0, places, laid, laid + len.next_multiple_of(ALIGNED)]
    }

    /// The product that makes the outputs of `n` images.
    fn outputs(&self, n: usize) -> Product {
        let Self { maps: rows, groups, .. } = *self;
        let usual = self.at_once(USUAL_IMAGES) * self.pixels();
        let tiles = usual.div_ceil(COLUMNS) * rows.div_ceil(ROWS) * groups;
        let splits = Splits::new(self.depth(), tiles);
        Product { rows, columns: n * self.pixels(), depth: self.depth(), groups, splits }
    }

    /// Numbers that the partial sums of outputs take: none if they are uncut.
    fn partial_outputs(&self, n: usize) -> usize {
        let count = self.outputs(n).splits.count;
        if count == 1 { 0 } else { count * n * self.output() }
    }

    /// The product that makes the gradient of the weights: the sum is over (image, pixel).
    fn weight_gradients(&self, n: usize) -> Product {
        let Self { maps: rows, groups, .. } = *self;
        let (columns, depth) = (self.depth(), n * self.pixels());
        let tiles = columns.div_ceil(COLUMNS) * rows.div_ceil(ROWS) * groups;
        Product { rows, columns, depth, groups, splits: Splits::new(depth, tiles) }
    }

    /// Side of the source maps as conv_maps_last leaves them: what the windows read.
    fn line(&self) -> usize {
        self.stride * (self.out_side - 1) + self.kernel
    }

    /// As [`Self::regions`], for the gradient of the weights: places of windows, source maps, output
    /// maps, and the rest.
    fn weight_regions(&self, n: usize) -> [usize; 4] {
        let laid = (filled(n * self.pixels()) + 8).next_multiple_of(ALIGNED);
        let len = n * self.groups * self.inputs * self.line().pow(2);
        let dy = laid + len.next_multiple_of(ALIGNED);
        [0, laid, dy, dy + (n * self.output()).next_multiple_of(ALIGNED)]
    }

    /// Images whose gradient is computed at once. Numbers that stand apart make laid-out maps
    /// `stride²` times as large; one image has tiles enough then.
    fn at_once(&self, n: usize) -> usize {
        if self.apart > 1 { 1 } else { n }
    }

    /// Numbers of working memory for a pass whose last region holds `rest`.
    fn scratch(&self, n: usize, rest: usize) -> usize {
        self.regions(n)[3] + rest
    }
}

/// The products of one part of `n` images: outputs, gradients of the inputs, of the weights.
///
/// # Errors
/// [`Error::Shape`] if the convolution has no such part.
pub fn products(conv: &Conv, part: &Part, n: usize) -> Result<[Product; 3]> {
    let sizes = Sizes::new(conv, part)?;
    let turned = sizes.turned();
    let gradients = turned.outputs(turned.at_once(n));
    Ok([sizes.outputs(n), gradients, sizes.weight_gradients(n)])
}

/// Numbers of working memory that any pass over up to `batch` images needs, whatever the part.
pub(super) fn scratch_len(conv: &Conv, batch: usize) -> usize {
    let Ok(sizes) = Sizes::new(conv, &Part(0..conv.inputs)) else { return 0 };
    let turned = sizes.turned();
    let outputs = Splits::most(0) * batch.div_ceil(USUAL_IMAGES);
    let gradients = turned.scratch(turned.at_once(batch), turned.turned_weights() + outputs);
    let weights = sizes.weight_regions(batch)[3] + Splits::most(sizes.weights());
    sizes.scratch(batch, outputs).max(gradients).max(weights)
}

/// Lays out `n` images of `x` and writes the tables.
fn lay_out(
    dev: &Cuda,
    sizes: &Sizes,
    n: usize,
    x: &Floats,
    at: usize,
    work: &Floats,
) -> Result<()> {
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

/// Weights and where a row's part of them begins: in w, or turned round in the working memory.
struct Weights {
    address: u64,
    pitch: usize,
}

/// The product of laid-out maps and weights, into `y` from `at` on; partial sums lie in the working
/// memory from `partial` on.
#[expect(clippy::too_many_arguments, reason = "outputs, inputs, sizes: a launch's list")]
fn multiply(
    dev: &Cuda,
    sizes: &Sizes,
    n: usize,
    work: &Floats,
    partial: usize,
    weights: &Weights,
    ends: &Ends<'_>,
    y: &mut Floats,
    at: usize,
) -> Result<()> {
    let product = sizes.outputs(n);
    let splits = product.splits;
    let launch = |to: u64, ends: &Ends<'_>| {
        let [offsets, places, laid, _] = sizes.regions(n);
        // SAFETY: order and types are those of conv.cu; at `to` there is room for all splits of n
        // images, and the weights have all rows (the callers looked); the regions of `work` are as
        // lay_out() left them and go by address, since they lie in one buffer.
        unsafe {
            dev.call("conv_forward")
                .long(to)
                .long(work.address(laid))
                .long(work.address(offsets))
                .long(work.address(places))
                .long(weights.address)
                .optional_read(ends.bias, 0)
                .int(adds(ends.sum))
                .int(ends.activation)
                .int(n)
                .int(sizes.groups)
                .int(sizes.maps)
                .int(sizes.pixels())
                .int(sizes.depth())
                .int(weights.pitch)
                .int(sizes.inputs * sizes.plane())
                .int(splits.strips)
                .launch(product.grid(), THREADS)
        }
    };
    if splits.count == 1 {
        return launch(y.address(at), ends);
    }
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
    let work = dev.take_scratch(sizes.scratch(n, sizes.partial_outputs(n)))?;
    let weights = Weights { address: w.address(from), pitch };
    let partial = sizes.regions(n)[3];
    let done = lay_out(dev, &sizes, n, x, x_at, &work)
        .and_then(|()| multiply(dev, &sizes, n, &work, partial, &weights, &ends, y, y_at));
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
    let rest = sizes.turned_weights() + sizes.partial_outputs(at_once);
    let work = dev.take_scratch(sizes.scratch(at_once, rest))?;
    let last = sizes.regions(at_once)[3];
    let turned = Weights { address: work.address(last), pitch: sizes.depth() };
    let partial = last + sizes.turned_weights();
    let mut done = turn(dev, &sizes, w, from, pitch, &turned);
    for first in images.clone().step_by(at_once.max(1)) {
        let n = at_once.min(images.end - first);
        let (dy_at, dx_at) = (first * sizes.source(), first * sizes.output());
        done = done.and_then(|()| lay_out(dev, &sizes, n, dy, dy_at, &work)).and_then(|()| {
            multiply(dev, &sizes, n, &work, partial, &turned, &Ends::NONE, dx, dx_at)
        });
    }
    dev.give_scratch(work);
    done
}

/// Writes the weights of the turned convolution.
fn turn(
    dev: &Cuda,
    sizes: &Sizes,
    w: &Floats,
    from: usize,
    pitch: usize,
    turned: &Weights,
) -> Result<()> {
    // SAFETY: order and types are those of conv.cu; w is whole (the caller looked), and the
    // working memory has room for as many numbers as the part has.
    unsafe {
        dev.call("conv_turn")
            .long(turned.address)
            .read(w, from)
            .int(sizes.groups)
            .int(sizes.inputs)
            .int(sizes.maps)
            .int(sizes.kernel * sizes.kernel)
            .int(pitch)
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
        let grid = [self.line.div_ceil(32), n * self.line, self.maps.div_ceil(32)];
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
