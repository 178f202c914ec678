//! The stages of a convolution in the frequency domain, each for one thread's share.

use pulp::{Simd, WithSimd};

use super::fft::Roots;
use super::product::{BLOCK, COMPLEX_BLOCK, OverImages, OverMaps, over_images, over_maps};
use super::tile::{self, Tile};
use super::{Direction, Finish, Frequency, Maps};
use crate::backend::cpu::bias::finish_maps;
use crate::backend::cpu::{Grown, Scratch};
use crate::ops::Accumulate;

/// A stage, compiled for each size of a tile.
pub(super) trait Stage {
    /// Rows and columns of the tiles, 16 or 32.
    fn points(&self) -> usize;
    /// Runs the stage in tiles of `P` × `P` numbers.
    fn run<S: Simd, const P: usize>(self, simd: S);
}

/// A stage, compiled for each set of vector instructions.
pub(super) struct InTiles<T>(pub(super) T);

impl<T: Stage> WithSimd for InTiles<T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.0.points() {
            16 => self.0.run::<S, 16>(simd),
            _ => self.0.run::<S, 32>(simd),
        }
    }
}

/// First stage: rows of all groups of some images.
pub(super) struct Rows<'a> {
    pub(super) sizes: &'a Frequency,
    pub(super) roots: &'a Roots,
    pub(super) maps: Maps,
    pub(super) x: &'a [f32],
    pub(super) rows: &'a mut [f32],
    pub(super) scratch: &'a mut Scratch,
}

impl Stage for Rows<'_> {
    fn points(&self) -> usize {
        self.sizes.points
    }

    #[inline(always)]
    fn run<S: Simd, const P: usize>(self, simd: S) {
        let Self { roots, maps: Maps { n, square }, x, rows, scratch, .. } = self;
        let map = square.side * square.side;
        let pixels = scratch.pixels.take(square.pixels());
        let mut tile = Tile::<S, P>::new(simd, roots);
        let blocks = x.chunks_exact(n * map).flat_map(|group| group.chunks(BLOCK * map));
        for (x, to) in blocks.zip(rows.chunks_exact_mut(square.columns(P))) {
            tile::spread(x.len() / map, x, map, pixels);
            tile.rows(square, pixels, to);
        }
    }
}

/// Transforms one column of some blocks of one group's maps, for all images. Returns the numbers
/// from one frequency to the next in `to`.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "which part of which maps")]
fn column_of_maps<S: Simd, const P: usize>(
    tile: &mut Tile<'_, S, P>,
    sizes: &Frequency,
    maps: Maps,
    number: usize,
    group: usize,
    blocks: std::ops::Range<usize>,
    rows: &[f32],
    to: &mut Grown,
) -> usize {
    let Maps { square, .. } = maps;
    let images = rows.chunks_exact(sizes.image_of_rows(maps));
    // One more block, so that frequencies don't lie a power of two apart.
    let step = (images.len() * blocks.len() + 1) * COMPLEX_BLOCK;
    let to = to.take(tile::most_frequencies(P) * step);
    let each = square.columns(P);
    let from = images.flat_map(|image| {
        let group = &image[group * maps.rows(P)..];
        group[blocks.start * each..blocks.end * each].chunks_exact(each)
    });
    for (i, from) in from.enumerate() {
        let from = &from[number * square.column()..][..square.column()];
        let to = &mut to[i * COMPLEX_BLOCK..];
        tile.column(square, number, from, to, step);
    }
    step
}

/// Second stage of the passes over maps: some columns of one group.
pub(super) struct Multiply<'a> {
    pub(super) sizes: &'a Frequency,
    pub(super) roots: &'a Roots,
    pub(super) direction: Direction,
    /// Images.
    pub(super) n: usize,
    pub(super) group: usize,
    /// The first column.
    pub(super) first: usize,
    /// Rows of maps.
    pub(super) x: &'a [f32],
    /// The group's weights.
    pub(super) w: &'a [f32],
    /// Columns of the result.
    pub(super) sums: &'a mut [f32],
    pub(super) scratch: &'a mut Scratch,
}

impl Stage for Multiply<'_> {
    fn points(&self) -> usize {
        self.sizes.points
    }

    #[inline(always)]
    fn run<S: Simd, const P: usize>(self, simd: S) {
        let Self { sizes, roots, direction, n, group, first, x, w, sums, scratch } = self;
        let [mut of_maps, mut of_kernel, mut back] =
            std::array::from_fn(|_| Tile::<S, P>::new(simd, roots));
        let conjugate = direction == Direction::Backward;
        let [from, to] = sizes.ends(direction);
        let kernel = sizes.taps() * BLOCK;
        let (w_step, y_step) = ((from.n + 1) * COMPLEX_BLOCK, (n + 1) * COMPLEX_BLOCK);
        let Scratch { maps, weights, products, .. } = scratch;
        let of_w = weights.take(tile::most_frequencies(P) * w_step);
        let of_y = products.take(tile::most_frequencies(P) * y_step);
        let over = OverMaps { depth: from.n, images: n, image: from.blocks() * COMPLEX_BLOCK };
        let each = to.square.column();
        for (number, sums) in (first..).zip(sums.chunks_exact_mut(n * to.blocks() * each)) {
            let blocks = 0..from.blocks();
            let x_step = column_of_maps(&mut of_maps, sizes, from, number, group, blocks, x, maps);
            let of_x = maps.take(tile::most_frequencies(P) * x_step);
            for (b, w) in w.chunks_exact(from.n * kernel).enumerate() {
                for (i, w) in w.chunks_exact(kernel).enumerate() {
                    let (to, side) = (&mut of_w[i * COMPLEX_BLOCK..], sizes.kernel);
                    of_kernel.column_of_kernel(side, number, w, conjugate, to, w_step);
                }
                for f in 0..tile::frequencies(P, number) {
                    let (x, w) = (&of_x[f * x_step..], &of_w[f * w_step..]);
                    over_maps(simd, over, x, w, &mut of_y[f * y_step..]);
                }
                for i in 0..n {
                    let (from, square) = (&of_y[i * COMPLEX_BLOCK..], to.square);
                    let to = &mut sums[(i * to.blocks() + b) * each..][..each];
                    back.column_back(square, number, from, y_step, to);
                }
            }
        }
    }
}

/// Third stage of the passes over maps: one group of some images.
pub(super) struct RowsBack<'a> {
    pub(super) sizes: &'a Frequency,
    pub(super) roots: &'a Roots,
    pub(super) maps: Maps,
    pub(super) group: usize,
    /// Numbers from one column to the next.
    pub(super) column: usize,
    pub(super) sums: &'a [f32],
    pub(super) finish: Finish<'a>,
    pub(super) y: &'a mut [f32],
    pub(super) scratch: &'a mut Scratch,
}

impl Stage for RowsBack<'_> {
    fn points(&self) -> usize {
        self.sizes.points
    }

    #[inline(always)]
    fn run<S: Simd, const P: usize>(self, simd: S) {
        let Self { sizes, roots, maps, group, column, sums, finish, y, scratch } = self;
        let Maps { n, square } = maps;
        let map = square.side * square.side;
        let pixels = scratch.pixels.take(square.pixels());
        let mut tile = Tile::<S, P>::new(simd, roots);
        let bias = finish.bias.map(|bias| &bias[group * n..][..n]);
        for (i, y) in y.chunks_exact_mut(sizes.image(maps)).enumerate() {
            let y = &mut y[group * n * map..][..n * map];
            for (b, y) in y.chunks_mut(BLOCK * map).enumerate() {
                let from = &sums[(i * maps.blocks() + b) * square.column()..];
                tile.rows_back(square, column, from, tile::scale(P), pixels);
                let lanes = y.len() / map;
                match finish.accumulate {
                    Accumulate::Overwrite => {
                        tile::gather(pixels, lanes, y, |to, from| *to = from);
                    }
                    Accumulate::Add => tile::gather(pixels, lanes, y, |to, from| *to += from),
                }
                if let Some(bias) = bias {
                    finish_maps(&bias[b * BLOCK..][..lanes], finish.activation, y);
                }
            }
        }
    }
}

/// Second and last stage of the gradient of the weights: some blocks of maps of one group.
pub(super) struct Correlate<'a> {
    pub(super) sizes: &'a Frequency,
    pub(super) roots: &'a Roots,
    /// Images.
    pub(super) n: usize,
    pub(super) group: usize,
    /// The first block.
    pub(super) first: usize,
    /// Rows of the input maps, and of the gradient of the output maps.
    pub(super) x: &'a [f32],
    pub(super) dy: &'a [f32],
    pub(super) accumulate: Accumulate,
    /// `[maps, row]`.
    pub(super) dw: &'a mut [f32],
    pub(super) scratch: &'a mut Scratch,
}

impl Stage for Correlate<'_> {
    fn points(&self) -> usize {
        self.sizes.points
    }

    #[inline(always)]
    fn run<S: Simd, const P: usize>(self, simd: S) {
        let Self { sizes, roots, n, group, first, x, dy, accumulate, dw, scratch } = self;
        let [inputs, outputs] = sizes.ends(Direction::Forward);
        let Frequency { kernel, row, at, .. } = *sizes;
        let [mut of_inputs, mut of_outputs, mut back] =
            std::array::from_fn(|_| Tile::<S, P>::new(simd, roots));
        let blocks = dw.len().div_ceil(BLOCK * row);
        let taps = sizes.taps();
        let step = (inputs.n + 1) * COMPLEX_BLOCK;
        let Scratch { maps, weights, products, sums, .. } = scratch;
        let sums = sums.take(blocks * inputs.n * taps * BLOCK);
        sums.fill(0.0);
        let products = products.take(tile::most_frequencies(P) * step);
        let [x_image, dy_image] = [inputs.blocks() * COMPLEX_BLOCK, blocks * COMPLEX_BLOCK];
        let over = OverImages { images: n, x_image, dy_image, maps: inputs.n };
        for number in 0..tile::columns(P) {
            let all = 0..inputs.blocks();
            let x_step = column_of_maps(&mut of_inputs, sizes, inputs, number, group, all, x, maps);
            let of_x = maps.take(tile::most_frequencies(P) * x_step);
            let own = first..first + blocks;
            let dy_step =
                column_of_maps(&mut of_outputs, sizes, outputs, number, group, own, dy, weights);
            let of_dy = weights.take(tile::most_frequencies(P) * dy_step);
            for (b, sums) in sums.chunks_exact_mut(inputs.n * taps * BLOCK).enumerate() {
                for f in 0..tile::frequencies(P, number) {
                    let (x, dy) = (&of_x[f * x_step..], &of_dy[f * dy_step + b * COMPLEX_BLOCK..]);
                    over_images(simd, over, x, dy, &mut products[f * step..]);
                }
                for (i, sums) in sums.chunks_exact_mut(taps * BLOCK).enumerate() {
                    let from = &products[i * COMPLEX_BLOCK..];
                    back.fold(kernel, number, from, step, sums);
                }
            }
        }
        let scale = tile::scale(P);
        let sums = sums.chunks_exact(inputs.n * taps * BLOCK);
        for (dw, sums) in dw.chunks_mut(BLOCK * row).zip(sums) {
            for (lane, dw) in dw.chunks_exact_mut(row).enumerate() {
                let dw = &mut dw[at..at + inputs.n * taps];
                for (dw, sums) in dw.iter_mut().zip(sums.as_chunks::<BLOCK>().0) {
                    let sum = scale * sums[lane];
                    *dw = if accumulate == Accumulate::Add { *dw + sum } else { sum };
                }
            }
        }
    }
}
