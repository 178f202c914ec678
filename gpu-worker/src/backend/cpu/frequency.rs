//! Convolution in the frequency domain: for maps that fit one tile, with far fewer multiplications.
//!
//! Directly, a convolution multiplies every weight by nearly every number of a map. Here, the
//! transforms of a map and of a kernel in a tile are multiplied element by element. For one input
//! map and one output map, that takes 520 real multiplications instead of 1,521 (3 × 3 weights,
//! maps of 13 × 13), or 2,056 instead of 18,225 (5 × 5, 27 × 27). At each frequency, the sum over a
//! layer's input maps is a product of matrices of complex numbers.
//!
//! Forward and backward to the inputs have three stages, so that what is read and written at
//! strides stays in the cache:
//!
//! 1. The rows of all maps are transformed.
//! 2. The tiles' columns are processed one after another. That column of all maps and of the
//!    weights is transformed, they are multiplied at each of its frequencies, and the result is
//!    transformed back.
//! 3. The rows of the result are transformed back.
//!
//! Backward to the weights has two: in the second, that column of the input maps and of the
//! outputs' gradient is transformed and multiplied, and what it contributes is added to the
//! gradient.
//!
//! | memory | layout |
//! |---|---|
//! | rows of maps | `[images, groups, blocks, columns, rows, 2, 16]` |
//! | weights | `[groups, blocks, maps summed over, kernel, kernel, 16]` |
//! | a column of maps | `[frequencies, images, blocks, 2, 16]` |
//! | a column of weights, of one block | `[frequencies, maps summed over, 2, 16]` |
//! | columns of the result | `[columns, images, blocks, rows, 2, 16]` |
//!
//! A block is 16 maps: their real parts, then their imaginary parts. Each sum is in one thread's
//! hands, in the same order whatever the number of threads and the vectors' width. The sums over
//! maps do not depend on the micro-batches; those of the weights' gradients over images do.

use model::recipe::Activation;
use rayon::prelude::*;

use super::{Convolution, Cpu, Floats};
use crate::error::Result;
use crate::ops::{Accumulate, Conv, Images, InputRange};

mod fft; // butterflies
mod product; // complex matrix products
mod tile; // maps ⇄ spectra
mod stages; // what is done with one share of images, columns or maps
mod kept; // weights in blocks and transformed rows, kept until their buffer changes

pub(super) use fft::Roots;
pub(super) use kept::Spectra;
use product::BLOCK;
use stages::{Correlate, InTiles, Multiply, Rows, RowsBack};
use tile::Square;

/// Most images that are processed together.
const AT_ONCE: usize = 32;

/// Direction in which a convolution is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// From input maps to output maps.
    Forward,
    /// From the gradient of output maps to that of input maps.
    Backward,
}

/// A convolution that is computed in the frequency domain, over one range of its inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frequency {
    /// Rows and columns of a tile, 16 or 32.
    points: usize,
    groups: usize,
    /// Output maps and input maps of a group.
    maps: usize,
    inputs: usize,
    kernel: usize,
    /// Weights of an output map.
    row: usize,
    /// Offset of the range's first weight among them.
    at: usize,
    /// An input map in its tile.
    input: Square,
    /// An output map, which begins in the tile's corner.
    output: Square,
}

impl Frequency {
    /// The convolution, if its stride is 1 and every map fits a tile.
    fn of(conv: &Conv, range: &InputRange) -> Option<Self> {
        let Conv { side, out_side, kernel, stride, pad, groups, .. } = *conv;
        // Every number that a window reads lies in the tile, and no window wraps around its edge.
        let reach = (out_side + kernel - 1).max(pad + side);
        let points = [16, 32].into_iter().find(|points| reach <= *points)?;
        let taps = kernel * kernel;
        (stride == 1).then_some(Self {
            points,
            groups,
            maps: conv.maps / groups,
            inputs: range.0.len() / groups,
            kernel,
            row: conv.inputs / groups * taps,
            at: range.0.start * taps,
            input: Square { side, at: pad },
            output: Square { side: out_side, at: 0 },
        })
    }

    /// True if this takes fewer operations than direct multiplication. Both are counted for
    /// [`AT_ONCE`] images, not for the actual number, so that an image's bits do not depend on the
    /// other images.
    fn pays(&self) -> bool {
        let Self { points, maps, inputs, .. } = *self;
        let tile = points * points;
        let [in_lanes, out_lanes] = [inputs, maps].map(|maps| maps.next_multiple_of(BLOCK));
        // 12 and 8 were measured once: a transform takes as long as that many multiplications per
        // number; more for maps, which travel through memory, than for weights.
        let products = 4 * tile::all_frequencies(points) * inputs * out_lanes * AT_ONCE;
        let transforms = tile * (12 * (in_lanes + out_lanes) * AT_ONCE + 8 * inputs * out_lanes);
        let direct = self.taps() * self.output.side.pow(2) * inputs * maps * AT_ONCE;
        products + transforms < direct
    }

    /// The maps of a group that are read, and those that are written.
    fn ends(&self, direction: Direction) -> [Maps; 2] {
        let input = Maps { n: self.inputs, square: self.input };
        let output = Maps { n: self.maps, square: self.output };
        match direction {
            Direction::Forward => [input, output],
            Direction::Backward => [output, input],
        }
    }

    /// Numbers of a kernel.
    fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Numbers of an image's maps.
    fn image(&self, maps: Maps) -> usize {
        self.groups * maps.n * maps.square.side * maps.square.side
    }

    /// Numbers of the transformed rows of an image's maps.
    fn image_of_rows(&self, maps: Maps) -> usize {
        self.groups * maps.rows(self.points)
    }
}

/// Maps of a group, and where each lies in its tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Maps {
    n: usize,
    square: Square,
}

impl Maps {
    fn blocks(self) -> usize {
        self.n.div_ceil(BLOCK)
    }

    /// Numbers of the transformed rows of these maps.
    fn rows(self, points: usize) -> usize {
        self.blocks() * self.square.columns(points)
    }
}

/// The end of a forward convolution: whether it accumulates, its bias and its activation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finish<'a> {
    pub(super) accumulate: Accumulate,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) activation: Option<Activation>,
}

/// Groups of at most [`AT_ONCE`] images.
fn groups_of(images: &Images) -> impl Iterator<Item = Images> {
    let end = images.end;
    images.clone().step_by(AT_ONCE).map(move |from| from..(from + AT_ONCE).min(end))
}

impl Cpu {
    /// Sizes of the convolution in the frequency domain, if it is to be computed there.
    pub(super) fn in_frequency(&self, conv: &Conv, range: &InputRange) -> Option<Frequency> {
        let sizes = Frequency::of(conv, range)?;
        match self.convolution {
            Convolution::Fastest => (self.fuses() && sizes.pays()).then_some(sizes),
            Convolution::Frequency => Some(sizes),
            Convolution::Product | Convolution::Direct => None,
        }
    }

    /// The outputs from the input maps `x` `[n, inputs, side, side]`.
    pub(super) fn forward_in_frequency(
        &mut self,
        sizes: &Frequency,
        images: &Images,
        x: &Floats,
        w: &Floats,
        finish: Finish<'_>,
        y: &mut [f32],
    ) -> Result<()> {
        self.pass(sizes, Direction::Forward, images, x, w, finish, y)
    }

    /// The gradient of the input maps, from `dy` `[n, maps, out_side, out_side]`.
    pub(super) fn backward_inputs_in_frequency(
        &mut self,
        sizes: &Frequency,
        images: &Images,
        dy: &Floats,
        w: &Floats,
        dx: &mut [f32],
    ) -> Result<()> {
        let finish = Finish { accumulate: Accumulate::Overwrite, bias: None, activation: None };
        self.pass(sizes, Direction::Backward, images, dy, w, finish, dx)
    }

    #[expect(clippy::too_many_arguments, reason = "both directions of one operation")]
    fn pass(
        &mut self,
        sizes: &Frequency,
        direction: Direction,
        images: &Images,
        x: &Floats,
        w: &Floats,
        finish: Finish<'_>,
        y: &mut [f32],
    ) -> Result<()> {
        let [from, to] = sizes.ends(direction);
        let mut kept_w = w.spectra();
        let w = w.exactly(sizes.groups * sizes.maps * sizes.row)?;
        let w = kept_w.of_weights(sizes, direction, w);
        let w_group = to.blocks() * from.n * sizes.taps() * BLOCK;
        let mut kept_x = (direction == Direction::Backward).then(|| x.spectra());
        let image = sizes.image(to);

        for (slice, y) in groups_of(images).zip(y.chunks_mut(AT_ONCE * image)) {
            let [mut x_memory, mut y_memory] = std::mem::take(&mut self.rows);
            let x = match &mut kept_x {
                // The gradient of outputs is read again for that of the weights.
                Some(kept) => kept.of_maps(sizes, from, x, &slice, self)?,
                None => {
                    let rows = x_memory.take(slice.len() * sizes.image_of_rows(from));
                    self.rows_of(sizes, from, x, &slice, rows)?;
                    &*rows
                }
            };
            let n = slice.len();
            let column = n * to.blocks() * to.square.column();
            let columns = tile::columns(sizes.points);
            let (share, share_of_columns) = (self.share(n), self.share(columns));
            let Self { pool, scratch, roots, arch, .. } = self;
            let sums = y_memory.take(columns * column);
            for (group, w) in w.chunks_exact(w_group).enumerate() {
                pool.install(|| {
                    let shares = sums.par_chunks_mut(share_of_columns * column).enumerate();
                    shares.zip(&mut scratch[..]).for_each(|((i, sums), scratch)| {
                        let first = i * share_of_columns;
                        arch.dispatch(InTiles(Multiply {
                            sizes,
                            roots,
                            direction,
                            n,
                            group,
                            first,
                            x,
                            w,
                            sums,
                            scratch,
                        }));
                    });
                    let shares = y.par_chunks_mut(share * image).enumerate();
                    shares.zip(&mut scratch[..]).for_each(|((i, y), scratch)| {
                        arch.dispatch(InTiles(RowsBack {
                            sizes,
                            roots,
                            maps: to,
                            group,
                            column,
                            sums: &sums[i * share * to.blocks() * to.square.column()..],
                            finish,
                            y,
                            scratch,
                        }));
                    });
                });
            }
            self.rows = [x_memory, y_memory];
        }
        Ok(())
    }

    /// Adds to the gradient of the weights, or overwrites it, from the input maps `x` and the
    /// gradient of the output maps.
    pub(super) fn backward_weights_in_frequency(
        &mut self,
        sizes: &Frequency,
        images: &Images,
        x: &Floats,
        dy: &Floats,
        accumulate: Accumulate,
        dw: &mut [f32],
    ) -> Result<()> {
        let [inputs, outputs] = sizes.ends(Direction::Forward);
        let mut kept = dy.spectra();
        let mut accumulate = accumulate;
        for slice in groups_of(images) {
            let [mut memory, other] = std::mem::take(&mut self.rows);
            let x_rows = memory.take(slice.len() * sizes.image_of_rows(inputs));
            self.rows_of(sizes, inputs, x, &slice, x_rows)?;
            let x = &*x_rows;
            let dy = kept.of_maps(sizes, outputs, dy, &slice, self)?;
            let (n, share) = (slice.len(), self.share(outputs.blocks()));
            let Self { pool, scratch, roots, arch, .. } = self;
            for (group, dw) in dw.chunks_exact_mut(sizes.maps * sizes.row).enumerate() {
                pool.install(|| {
                    let shares = dw.par_chunks_mut(share * BLOCK * sizes.row).enumerate();
                    shares.zip(&mut scratch[..]).for_each(|((i, dw), scratch)| {
                        let first = i * share;
                        arch.dispatch(InTiles(Correlate {
                            sizes,
                            roots,
                            n,
                            group,
                            first,
                            x,
                            dy,
                            accumulate,
                            dw,
                            scratch,
                        }));
                    });
                });
            }
            self.rows = [memory, other];
            accumulate = Accumulate::Add;
        }
        Ok(())
    }

    /// Transforms the rows of some images' maps.
    fn rows_of(
        &mut self,
        sizes: &Frequency,
        maps: Maps,
        x: &Floats,
        images: &Images,
        rows: &mut [f32],
    ) -> Result<()> {
        let (image, step) = (sizes.image(maps), sizes.image_of_rows(maps));
        let x = x.images(images, image)?;
        let share = self.share(images.len());
        let Self { pool, scratch, roots, arch, .. } = self;
        pool.install(|| {
            let shares = rows.par_chunks_mut(share * step).zip(x.par_chunks(share * image));
            shares.zip(&mut scratch[..]).for_each(|((rows, x), scratch)| {
                arch.dispatch(InTiles(Rows { sizes, roots, maps, x, rows, scratch }));
            });
        });
        Ok(())
    }
}
