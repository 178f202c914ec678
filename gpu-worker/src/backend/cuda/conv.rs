//! Convolution as an implicit product: maps are repacked, and the product gathers from there.

use super::gemm::{self, KernelEpilogue, Partial, adds, kernel_epilogue};
use super::launch::THREADS;
use super::{Cuda, Floats, reduce};
use crate::backend::Run;
use crate::error::Result;
use crate::ops::{Conv, ConvBackwardInputs, ConvBackwardWeights, ConvForward, InputRange};

mod sizes; // of the products, and of the regions of the working memory

use sizes::Sizes;
pub use sizes::products;
pub(super) use sizes::scratch_len;

impl Run<ConvForward<'_, Floats>> for Cuda {
    fn run(&mut self, op: ConvForward<'_, Floats>) -> Result<()> {
        let ConvForward { conv, images, x, range, w, accumulate, epilogue, y } = op;
        let sizes = Sizes::new(conv, range)?;
        let n = images.len();
        let x_at = x.images(&images, sizes.source())?;
        let y_at = y.images(&images, sizes.output())?;
        let (from, pitch) = range_of_weights(conv, range);
        w.exactly(conv.maps * pitch)?;
        let epilogue = kernel_epilogue(accumulate, epilogue.as_ref(), conv.maps)?;
        let steps = Steps { map: pitch, input: conv.kernel * conv.kernel, rotated: false };
        self.with_scratch(sizes.scratch(n), |dev, work| {
            let packing = Packing { dev, sizes: &sizes, n, work };
            packing.pack_maps(x, x_at)?;
            packing.pack_weights(w, from, &steps)?;
            packing.multiply(&epilogue, y, y_at)
        })
    }
}

impl Run<ConvBackwardInputs<'_, Floats>> for Cuda {
    fn run(&mut self, op: ConvBackwardInputs<'_, Floats>) -> Result<()> {
        let ConvBackwardInputs { conv, images, dy, w, range, dx } = op;
        let sizes = Sizes::new(conv, range)?.of_input_gradient();
        dy.images(&images, sizes.source())?;
        dx.images(&images, sizes.output())?;
        let (from, pitch) = range_of_weights(conv, range);
        w.exactly(conv.maps * pitch)?;
        let at_once = sizes.at_once(images.len());
        let steps = Steps { map: conv.kernel * conv.kernel, input: pitch, rotated: true };
        self.with_scratch(sizes.scratch(at_once), |dev, work| {
            let packing = Packing { dev, sizes: &sizes, n: at_once, work };
            packing.pack_weights(w, from, &steps)?;
            // At once are all images or one, so each turn has as many.
            for first in images.step_by(at_once.max(1)) {
                packing.pack_maps(dy, first * sizes.source())?;
                packing.multiply(&KernelEpilogue::NONE, dx, first * sizes.output())?;
            }
            Ok(())
        })
    }
}

/// Start of a row's range of the weights, and the length of a row.
fn range_of_weights(conv: &Conv, range: &InputRange) -> (usize, usize) {
    let kernel = conv.kernel * conv.kernel;
    (range.0.start * kernel, conv.inputs / conv.groups * kernel)
}

/// Distances in w between the weights of two maps and of two inputs, and whether kernels are
/// rotated by half a turn.
struct Steps {
    map: usize,
    input: usize,
    rotated: bool,
}

/// Packed operands of the product of `n` images, in the working memory.
struct Packing<'a> {
    dev: &'a Cuda,
    sizes: &'a Sizes,
    n: usize,
    work: &'a Floats,
}

impl Packing<'_> {
    /// Packs the images of `x` from `at` on and writes the tables.
    fn pack_maps(&self, x: &Floats, at: usize) -> Result<()> {
        let Self { dev, sizes, n, work } = *self;
        sizes.check_tables(n)?;
        let [offsets, places, packed, _] = sizes.regions(n);
        let blocks = sizes.plane().div_ceil(THREADS as usize);
        // SAFETY: order and types are those of conv.cu; x holds n images from `at` on (the callers
        // looked), and the regions of `work`, which only this launch touches now, are as large as
        // regions() says. They go by address, since they lie in one buffer. The kernel's `int pad`
        // may be negative: it is the lower half of the long.
        unsafe {
            dev.call("conv_layout")
                .long(work.address(packed))
                .long(work.address(offsets))
                .long(work.address(places))
                .read(x, at)
                .int(sizes.side)
                .int(sizes.dilation)
                .long(sizes.pad as u64)
                .int(sizes.stride)
                .int(sizes.kernel)
                .int(sizes.out_side)
                .int(sizes.depth())
                .launch([n * sizes.groups * sizes.inputs, blocks, 1], THREADS)
        }
    }

    /// Packs the range of the weights that begins at number `from` of w.
    fn pack_weights(&self, w: &Floats, from: usize, steps: &Steps) -> Result<()> {
        let Self { dev, sizes, n, work } = *self;
        let [.., to] = sizes.regions(n);
        // SAFETY: order and types are those of conv.cu; w is whole (the callers looked), and the
        // working memory has room for as many numbers as the range has.
        unsafe {
            dev.call("conv_weights")
                .long(work.address(to))
                .read(w, from)
                .int(sizes.groups)
                .int(sizes.maps)
                .int(sizes.inputs)
                .int(sizes.kernel * sizes.kernel)
                .int(steps.map)
                .int(steps.input)
                .int(usize::from(steps.rotated))
                .one_thread_each(sizes.weights())
        }
    }

    /// Multiplies packed maps and weights into `y` from number `at` on.
    fn multiply(&self, epilogue: &KernelEpilogue<'_>, y: &mut Floats, at: usize) -> Result<()> {
        let Self { dev, sizes, n, work } = *self;
        let product = sizes.outputs(n);
        let splits = product.splits;
        let [offsets, places, packed, w] = sizes.regions(n);
        let launch = |to: u64, epilogue: &KernelEpilogue<'_>| {
            // SAFETY: order and types are those of conv.cu; at `to` there is room for all splits of
            // n images; the regions of `work` are as pack_maps() and pack_weights() left them and
            // go by address, since they lie in one buffer.
            unsafe {
                dev.call("conv_forward")
                    .long(to)
                    .long(work.address(packed))
                    .long(work.address(offsets))
                    .long(work.address(places))
                    .long(work.address(w))
                    .optional_read(epilogue.bias, 0)
                    .int(adds(epilogue.accumulate))
                    .int(epilogue.activation)
                    .int(n)
                    .int(sizes.groups)
                    .int(sizes.maps)
                    .int(sizes.pixels())
                    .int(sizes.depth())
                    .int(sizes.inputs * sizes.plane())
                    .int(splits.strips)
                    .launch(product.grid(), gemm::THREADS)
            }
        };
        if splits.count == 1 {
            return launch(y.address(at), epilogue);
        }
        let partial = w + sizes.packed_weights();
        launch(work.address(partial), &KernelEpilogue::NONE)?;
        let numbers = [n * sizes.output(), sizes.groups * sizes.maps, sizes.pixels()];
        let partial = Partial { work, at: partial, splits };
        reduce::outputs(dev, numbers, &partial, epilogue, y, at)
    }
}

impl Run<ConvBackwardWeights<'_, Floats>> for Cuda {
    fn run(&mut self, op: ConvBackwardWeights<'_, Floats>) -> Result<()> {
        op.check()?;
        let ConvBackwardWeights { conv, images, x, range, dy, accumulate, dw } = op;
        let sizes = Sizes::new(conv, range)?;
        let n = images.len();
        let x_at = x.images(&images, sizes.source())?;
        let dy_at = dy.images(&images, sizes.output())?;
        let (from, pitch) = range_of_weights(conv, range);
        dw.exactly(conv.maps * pitch)?;
        let product = sizes.weight_gradients(n);
        let splits = product.splits;
        let [places, packed, packed_dy, partial] = sizes.weight_regions(n);
        self.with_scratch(partial + splits.count * sizes.weights(), |dev, work| {
            let source = ChannelsLast {
                maps: sizes.groups * sizes.inputs,
                side: sizes.side,
                pad: sizes.pad,
                line: sizes.line(),
                places: Some((work.address(places), &sizes)),
            };
            let output = ChannelsLast {
                maps: conv.maps,
                side: sizes.out_side,
                pad: 0,
                line: sizes.out_side,
                places: None,
            };
            source.pack(dev, n, (x, x_at), work.address(packed))?;
            output.pack(dev, n, (dy, dy_at), work.address(packed_dy))?;
            // SAFETY: order and types are those of conv.cu; the regions of `work` are as pack()
            // left them, the last has room for all splits, and they go by address, since they lie
            // in one buffer.
            unsafe {
                dev.call("conv_backward_weights")
                    .long(work.address(partial))
                    .long(work.address(packed_dy))
                    .long(work.address(packed))
                    .long(work.address(places))
                    .int(sizes.groups)
                    .int(sizes.maps)
                    .int(sizes.inputs)
                    .int(sizes.kernel)
                    .int(sizes.line())
                    .int(product.depth)
                    .int(splits.strips)
                    .launch(product.grid(), gemm::THREADS)
            }?;
            let partial = Partial { work, at: partial, splits };
            let rows = [conv.maps, sizes.inputs, sizes.kernel * sizes.kernel, pitch];
            reduce::weights(dev, rows, &partial, accumulate, dw, from)
        })
    }
}

/// Maps to be packed so that neighbors are maps (channels last), with zeros around them.
struct ChannelsLast<'a> {
    maps: usize,
    side: usize,
    pad: isize,
    line: usize,
    /// Address of the table of places, and the windows that it is for.
    places: Option<(u64, &'a Sizes)>,
}

impl ChannelsLast<'_> {
    /// Packs `n` images of `x` from number `at` on, to address `to`.
    fn pack(&self, dev: &Cuda, n: usize, (x, at): (&Floats, usize), to: u64) -> Result<()> {
        let (places, windows) = self.places.map_or((0, None), |(to, sizes)| (to, Some(sizes)));
        let grid = [n * self.line, self.line.div_ceil(32), self.maps.div_ceil(32)];
        // SAFETY: order and types are those of conv.cu; x holds n images from `at` on (the callers
        // looked), and at `to` and `places` there is as much room as weight_regions() says. The
        // kernel's `int pad` may be negative: it is the lower half of the long.
        unsafe {
            dev.call("conv_channels_last")
                .long(to)
                .long(places)
                .read(x, at)
                .int(self.side)
                .long(self.pad as u64)
                .int(self.line)
                .int(self.maps)
                .int(windows.map_or(1, |sizes| sizes.stride))
                .int(windows.map_or(1, |sizes| sizes.out_side))
                .int(windows.map_or(0, |sizes| n * sizes.pixels()))
                .launch(grid, THREADS)
        }
    }
}
