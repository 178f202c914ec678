//! Convolution without a copy of its windows, for weights that fit the second-level cache.
//!
//! Each lane of a vector holds one output map, and the weights of all maps for one input number are
//! adjacent. Forward and backward to the weights compute the same sums,
//! `y[j] = Σ v[k] · x[start(j) + step(k)]`. Forward, j counts windows, k counts weights, and v
//! holds the weights. Backward, j counts weights, k counts windows, and v holds the outputs'
//! gradient.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::bias::finish_maps;
use super::frequency::Finish;
use super::unroll::unrolled;
use super::{Convolution, Cpu, Scratch};
use crate::ops::{Accumulate, Conv, InputRange};

/// Most output maps that are computed together; a multiple of one and of three vectors of every
/// width.
const LANES: usize = 48;

/// Most weights for which they and the input stay in the second-level cache.
const WEIGHTS: usize = 64 * 1024;

/// Windows processed together: their outputs or gradients for [`LANES`] maps stay in the
/// first-level cache.
const WINDOWS: usize = 128;

/// A convolution that is computed without a copy of its windows, over one range of its inputs.
#[derive(Debug)]
pub(super) struct Direct {
    groups: usize,
    /// Output maps and input maps of a group.
    maps: usize,
    inputs: usize,
    side: usize,
    pad: usize,
    /// Numbers of an output map.
    windows: usize,
    /// Weights of an output map.
    row: usize,
    /// Offset of the range's first weight among them.
    at: usize,
    /// Side of an input map with its zeros.
    length: usize,
    /// Offset of each window in the padded input.
    starts: Vec<usize>,
    /// Offset of each weight in a window.
    steps: Vec<usize>,
}

impl Direct {
    fn new(conv: &Conv, range: &InputRange) -> Self {
        let Conv { side, out_side, kernel, stride, pad, groups, .. } = *conv;
        let inputs = range.0.len() / groups;
        let (maps, taps) = (conv.maps / groups, kernel * kernel);
        let length = ((out_side - 1) * stride + kernel).max(pad + side);
        let at = |map: usize, y: usize, x: usize| (map * length + y) * length + x;
        let grid = |n: usize| (0..n * n).map(move |i| (i / n, i % n));
        let weights = (0..inputs).flat_map(|map| grid(kernel).map(move |(y, x)| at(map, y, x)));
        Self {
            groups,
            maps,
            inputs,
            side,
            pad,
            windows: out_side * out_side,
            row: conv.inputs / groups * taps,
            at: range.0.start * taps,
            length,
            starts: grid(out_side).map(|(y, x)| at(0, y * stride, x * stride)).collect(),
            steps: weights.collect(),
        }
    }

    /// Numbers of a group's input maps, without their zeros.
    fn x(&self) -> usize {
        self.inputs * self.side * self.side
    }

    fn padded(&self) -> usize {
        self.inputs * self.length * self.length
    }

    fn y(&self) -> usize {
        self.maps * self.windows
    }

    /// Copies a group's input maps into `to`, which must hold zeros around them.
    fn pad(&self, x: &[f32], to: &mut [f32]) {
        let (map, to_map) = (self.side * self.side, self.length * self.length);
        let maps = x.chunks_exact(map).zip(to.chunks_exact_mut(to_map));
        for (x, to) in maps {
            let to = to.chunks_exact_mut(self.length).skip(self.pad);
            for (x, to) in x.chunks_exact(self.side).zip(to) {
                to[self.pad..self.pad + self.side].copy_from_slice(x);
            }
        }
    }
}

/// Splits the maps of a group into parts of at most [`LANES`]: the first map and the number of
/// each.
fn parts(maps: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..maps).step_by(LANES).map(move |first| (first, LANES.min(maps - first)))
}

/// `y[j] = Σ v[k] · x[start(j) + step(k)]` for `N` j, each in `V` vectors.
#[inline(always)]
fn tile<S: Simd, const V: usize, const N: usize>(
    simd: S,
    x: &[f32],
    starts: &[usize; N],
    steps: &[usize],
    v: &[f32],
    y: &mut [f32],
) {
    let lanes = V * S::F32_LANES;
    let mut sums = [[simd.splat_f32s(0.0); V]; N];
    for (step, v) in steps.iter().zip(v.chunks(LANES)) {
        let (v, _) = S::as_simd_f32s(&v[..lanes]);
        let Some(v) = v.first_chunk::<V>() else {
            unreachable!("so many lanes are so many vectors")
        };
        unrolled!(N, J => {
            let x = simd.splat_f32s(x[starts[J] + *step]);
            unrolled!(V, I => sums[J][I] = simd.mul_add_f32s(x, v[I], sums[J][I]));
        });
    }
    unrolled!(N, J => {
        if let Some(y) = y.get_mut(J * LANES..J * LANES + lanes) {
            let (y, _) = S::as_mut_simd_f32s(y);
            unrolled!(V, I => y[I] = simd.add_f32s(y[I], sums[J][I]));
        }
    });
}

/// Adds to `y` `[starts, LANES]` the sums for every start, in the first `lanes` lanes.
#[inline(always)]
fn sums<S: Simd>(
    simd: S,
    lanes: usize,
    x: &[f32],
    starts: &[usize],
    steps: &[usize],
    v: &[f32],
    y: &mut [f32],
) {
    /// Computes as many starts at once as fit the registers beside one start's vectors of weights.
    macro_rules! tiles {
        ($vectors:literal, $n:literal) => {{
            let width = $vectors * S::F32_LANES;
            for lane in (0..lanes).step_by(width) {
                let (v, y) = (&v[lane..], &mut y[lane..]);
                let (whole, rest) = starts.as_chunks::<$n>();
                let (to, to_rest) = y.split_at_mut((whole.len() * $n * LANES).min(y.len()));
                for (starts, y) in whole.iter().zip(to.chunks_mut($n * LANES)) {
                    tile::<S, $vectors, $n>(simd, x, starts, steps, v, y);
                }
                for (start, y) in rest.iter().zip(to_rest.chunks_mut(LANES)) {
                    tile::<S, $vectors, 1>(simd, x, &[*start], steps, v, y);
                }
            }
        }};
    }
    match lanes.div_ceil(S::F32_LANES) {
        3.. if S::REGISTER_COUNT >= 32 => tiles!(3, 8),
        2.. if S::REGISTER_COUNT >= 32 => tiles!(2, 8),
        2.. => tiles!(2, 4),
        _ => tiles!(1, 8),
    }
}

/// Some numbers of some maps, `stride` apart, into lanes: `[n, LANES]`.
#[inline(always)]
fn spread(maps: usize, n: usize, x: &[f32], stride: usize, to: &mut [f32]) {
    let (to, _) = to.as_chunks_mut::<LANES>();
    for lane in 0..maps {
        for (to, from) in to.iter_mut().zip(&x[lane * stride..][..n]) {
            to[lane] = *from;
        }
    }
}

/// The inverse of [`spread`].
#[inline(always)]
fn gather(
    maps: usize,
    n: usize,
    from: &[f32],
    y: &mut [f32],
    stride: usize,
    accumulate: Accumulate,
) {
    let (from, _) = from.as_chunks::<LANES>();
    for lane in 0..maps {
        for (to, from) in y[lane * stride..][..n].iter_mut().zip(from) {
            match accumulate {
                Accumulate::Overwrite => *to = from[lane],
                Accumulate::Add => *to += from[lane],
            }
        }
    }
}

impl Cpu {
    /// The convolution without copies, if it is to be computed so.
    pub(super) fn direct(&self, conv: &Conv, range: &InputRange) -> Option<Direct> {
        let lanes = (conv.maps / conv.groups).next_multiple_of(LANES / 3);
        let weights = range.0.len() / conv.groups * conv.kernel.pow(2) * lanes;
        let direct = match self.convolution {
            Convolution::Fastest => self.fuses() && weights <= WEIGHTS,
            Convolution::Direct => true,
            Convolution::Product | Convolution::Frequency => false,
        };
        direct.then(|| Direct::new(conv, range))
    }

    /// The outputs from the input maps `x` `[n, inputs, side, side]`.
    pub(super) fn forward_direct(
        &mut self,
        sizes: &Direct,
        x: &[f32],
        w: &[f32],
        finish: Finish<'_>,
        y: &mut [f32],
    ) {
        let [x_image, y_image] = [sizes.x(), sizes.y()].map(|len| sizes.groups * len);
        let share = self.share(y.len() / y_image);
        let Self { pool, scratch, arch, .. } = self;
        pool.install(|| {
            let shares = y.par_chunks_mut(share * y_image).zip(x.par_chunks(share * x_image));
            shares.zip(scratch).for_each(|((y, x), scratch)| {
                arch.dispatch(Forward { sizes, x, w, finish, y, scratch });
            });
        });
    }

    /// Adds to the gradient of the weights, or overwrites it, from the input maps `x` and the
    /// gradient of the output maps.
    pub(super) fn backward_weights_direct(
        &mut self,
        sizes: &Direct,
        x: &[f32],
        dy: &[f32],
        accumulate: Accumulate,
        dw: &mut [f32],
    ) {
        let n = sizes.steps.len();
        let share = self.share(n);
        let Self { pool, scratch, arch, rows: [memory, _], .. } = self;
        for group in 0..sizes.groups {
            for (first, maps) in parts(sizes.maps) {
                let sums = memory.take(n * LANES);
                sums.fill(0.0);
                pool.install(|| {
                    let shares = sums.par_chunks_mut(share * LANES).enumerate();
                    shares.zip(&mut scratch[..]).for_each(|((i, sums), scratch)| {
                        let steps = &sizes.steps[i * share..];
                        arch.dispatch(Weights {
                            sizes,
                            steps,
                            group,
                            first,
                            maps,
                            x,
                            dy,
                            sums,
                            scratch,
                        });
                    });
                });
                let dw = &mut dw[(group * sizes.maps + first) * sizes.row + sizes.at..];
                gather(maps, n, sums, dw, sizes.row, accumulate);
            }
        }
    }
}

struct Forward<'a> {
    sizes: &'a Direct,
    x: &'a [f32],
    w: &'a [f32],
    finish: Finish<'a>,
    y: &'a mut [f32],
    scratch: &'a mut Scratch,
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { sizes, x, w, finish, y, scratch } = self;
        let Scratch { padded, weights, products, .. } = scratch;
        let n = sizes.steps.len();
        let padded = padded.take(sizes.padded());
        padded.fill(0.0);
        let of_parts = weights.take(sizes.groups * parts(sizes.maps).count() * n * LANES);
        let mut to = of_parts.chunks_exact_mut(n * LANES);
        for w in w.chunks_exact(sizes.maps * sizes.row) {
            for ((first, maps), to) in parts(sizes.maps).zip(&mut to) {
                spread(maps, n, &w[first * sizes.row + sizes.at..], sizes.row, to);
            }
        }
        let outputs = products.take(WINDOWS * LANES);
        let x = x.chunks_exact(sizes.x());
        for (i, (x, y)) in x.zip(y.chunks_exact_mut(sizes.y())).enumerate() {
            let group = i % sizes.groups;
            sizes.pad(x, padded);
            let w = of_parts.chunks_exact(n * LANES).skip(group * parts(sizes.maps).count());
            for ((first, maps), w) in parts(sizes.maps).zip(w) {
                for (i, starts) in sizes.starts.chunks(WINDOWS).enumerate() {
                    outputs.fill(0.0);
                    sums(simd, maps, padded, starts, &sizes.steps, w, outputs);
                    let y = &mut y[first * sizes.windows + i * WINDOWS..];
                    gather(maps, starts.len(), outputs, y, sizes.windows, finish.accumulate);
                }
            }
            if let Some(bias) = finish.bias {
                let bias = &bias[group * sizes.maps..][..sizes.maps];
                finish_maps(bias, finish.activation, y);
            }
        }
    }
}

struct Weights<'a> {
    sizes: &'a Direct,
    /// Offsets of the weights from this thread's first one; those after its share are ignored.
    steps: &'a [usize],
    group: usize,
    /// First map of the part, and how many maps it has.
    first: usize,
    maps: usize,
    x: &'a [f32],
    dy: &'a [f32],
    sums: &'a mut [f32],
    scratch: &'a mut Scratch,
}

impl WithSimd for Weights<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { sizes, steps, group, first, maps, x, dy, sums: dw, scratch } = self;
        let steps = &steps[..dw.len() / LANES];
        let Scratch { padded, products, .. } = scratch;
        let padded = padded.take(sizes.padded());
        padded.fill(0.0);
        let gradients = products.take(WINDOWS * LANES);
        let x = x.chunks_exact(sizes.x()).skip(group).step_by(sizes.groups);
        let dy = dy.chunks_exact(sizes.y()).skip(group).step_by(sizes.groups);
        for (x, dy) in x.zip(dy) {
            sizes.pad(x, padded);
            for (i, windows) in sizes.starts.chunks(WINDOWS).enumerate() {
                let dy = &dy[first * sizes.windows + i * WINDOWS..];
                spread(maps, windows.len(), dy, sizes.windows, gradients);
                sums(simd, maps, padded, steps, windows, gradients, dw);
            }
        }
    }
}
