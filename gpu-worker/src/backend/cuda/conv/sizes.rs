//! Sizes of a convolution on a GPU: of its products, and of what lies in the working memory.

use super::super::gemm::{COLUMNS, Product, ROWS, Splits, padded};
use crate::error::{Error, Result};
use crate::ops::{Conv, InputRange};

/// Images whose tiles the cut of outputs reckons with: a slice. A constant: the cut must not depend
/// on the number of images, or the bits would.
const USUAL_IMAGES: usize = 32;

/// Regions of the working memory begin at multiples of this many numbers: 128 bytes.
const ALIGNED: usize = 32;

/// A convolution of one part as the kernels see it: source maps of `side`, read by windows at
/// distance `stride` once its numbers stand `dilation`, behind `pad` zeros (or −`pad` numbers).
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) groups: usize,
    /// Source maps and output maps of a group.
    pub(super) inputs: usize,
    pub(super) maps: usize,
    pub(super) side: usize,
    pub(super) out_side: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
    pub(super) pad: isize,
}

impl Sizes {
    pub(super) fn new(conv: &Conv, range: &InputRange) -> Result<Self> {
        conv.check(range)?;
        let &Conv { groups, side, out_side, kernel, stride, pad, .. } = conv;
        let (inputs, maps) = (range.0.len() / groups, conv.maps / groups);
        let pad = pad as isize;
        Ok(Self { groups, inputs, maps, side, out_side, kernel, stride, dilation: 1, pad })
    }

    /// The convolution whose output is the gradient of this one's inputs: it reads this one's
    /// output gradient, the dilated by `stride`, with every kernel turned round.
    pub(super) fn of_input_gradient(&self) -> Self {
        Self {
            inputs: self.maps,
            maps: self.inputs,
            side: self.out_side,
            out_side: self.side,
            stride: 1,
            dilation: self.stride,
            pad: self.kernel as isize - 1 - self.pad,
            ..*self
        }
    }

    /// Products of an output's sum.
    pub(super) fn depth(&self) -> usize {
        self.inputs * self.kernel * self.kernel
    }

    pub(super) fn pixels(&self) -> usize {
        self.out_side * self.out_side
    }

    /// Numbers of an image's source maps and output maps.
    pub(super) fn source(&self) -> usize {
        self.groups * self.inputs * self.side * self.side
    }

    pub(super) fn output(&self) -> usize {
        self.groups * self.maps * self.pixels()
    }

    pub(super) fn weights(&self) -> usize {
        self.groups * self.maps * self.depth()
    }

    /// As many, up to where the next region may begin.
    pub(super) fn packed_weights(&self) -> usize {
        self.weights().next_multiple_of(ALIGNED)
    }

    /// Numbers of one source map as conv_layout leaves it.
    pub(super) fn plane(&self) -> usize {
        let line = self.out_side + (self.kernel - 1) / self.stride;
        (self.stride.min(self.kernel) * line).pow(2)
    }

    /// Starts of the regions of the working memory, `n` images at once: offsets of k, places of
    /// pixels, packed maps, and the rest.
    pub(super) fn regions(&self, n: usize) -> [usize; 4] {
        let places = (padded(self.depth()) + 8).next_multiple_of(ALIGNED);
        let packed = places + self.pixels().next_multiple_of(ALIGNED);
        let len = n * self.groups * self.inputs * self.plane();
        [0, places, packed, packed + len.next_multiple_of(ALIGNED)]
    }

    /// Stops if the maps have fewer numbers than the table of offsets: conv_layout's threads, one a
    /// number, write it beside them.
    pub(super) fn check_tables(&self, n: usize) -> Result<()> {
        let got = n * self.groups * self.inputs * self.plane();
        let want = padded(self.depth()) + 8;
        if n > 0 && got < want {
            return Err(Error::Shape { tensor: "maps of a convolution", got, want });
        }
        Ok(())
    }

    /// The product that makes the outputs of `n` images.
    pub(super) fn outputs(&self, n: usize) -> Product {
        let Self { maps: rows, groups, .. } = *self;
        let usual = self.at_once(USUAL_IMAGES) * self.pixels();
        let tiles = usual.div_ceil(COLUMNS) * rows.div_ceil(ROWS) * groups;
        let splits = Splits::new(self.depth(), tiles);
        Product { rows, columns: n * self.pixels(), depth: self.depth(), groups, splits }
    }

    /// Numbers that the partial sums of outputs take: none if they are uncut.
    pub(super) fn partial_outputs(&self, n: usize) -> usize {
        let count = self.outputs(n).splits.count;
        if count == 1 { 0 } else { count * n * self.output() }
    }

    /// The product that makes the gradient of the weights: the sum is over (image, pixel).
    pub(super) fn weight_gradients(&self, n: usize) -> Product {
        let Self { maps: rows, groups, .. } = *self;
        let (columns, depth) = (self.depth(), n * self.pixels());
        let tiles = columns.div_ceil(COLUMNS) * rows.div_ceil(ROWS) * groups;
        Product { rows, columns, depth, groups, splits: Splits::new(depth, tiles) }
    }

    /// Side of the source maps as conv_channels_last leaves them: what the windows read.
    pub(super) fn line(&self) -> usize {
        self.stride * (self.out_side - 1) + self.kernel
    }

    /// As [`Self::regions`], for the gradient of the weights: places of windows, source maps,
    /// output maps, and the rest.
    pub(super) fn weight_regions(&self, n: usize) -> [usize; 4] {
        let packed = (padded(n * self.pixels()) + 8).next_multiple_of(ALIGNED);
        let len = n * self.groups * self.inputs * self.line().pow(2);
        let dy = packed + len.next_multiple_of(ALIGNED);
        [0, packed, dy, dy + (n * self.output()).next_multiple_of(ALIGNED)]
    }

    /// Images whose gradient is computed at once. Numbers that stand apart make packed maps
    /// `stride²` times as large; one image has tiles enough then.
    pub(super) fn at_once(&self, n: usize) -> usize {
        if self.dilation > 1 { 1 } else { n }
    }

    /// Numbers of working memory for the outputs of `n` images.
    pub(super) fn scratch(&self, n: usize) -> usize {
        self.regions(n)[3] + self.packed_weights() + self.partial_outputs(n)
    }
}

/// The products of one part of `n` images: outputs, gradients of the inputs, of the weights.
///
/// # Errors
/// [`Error::Shape`] if the convolution has no such part.
pub fn products(conv: &Conv, range: &InputRange, n: usize) -> Result<[Product; 3]> {
    let sizes = Sizes::new(conv, range)?;
    let gradient = sizes.of_input_gradient();
    let gradients = gradient.outputs(gradient.at_once(n));
    Ok([sizes.outputs(n), gradients, sizes.weight_gradients(n)])
}

/// Numbers of working memory that any pass over up to `batch` images needs, whatever the part.
pub(in crate::backend::cuda) fn scratch_len(conv: &Conv, batch: usize) -> usize {
    let Ok(sizes) = Sizes::new(conv, &InputRange(0..conv.inputs)) else { return 0 };
    let gradient = sizes.of_input_gradient();
    let outputs = Splits::most(0) * batch.div_ceil(USUAL_IMAGES);
    let [forward, gradients] = [(sizes, batch), (gradient, gradient.at_once(batch))]
        .map(|(sizes, n)| sizes.regions(n)[3] + sizes.packed_weights() + outputs);
    let weights = sizes.weight_regions(batch)[3] + Splits::most(sizes.weights());
    forward.max(gradients).max(weights)
}
