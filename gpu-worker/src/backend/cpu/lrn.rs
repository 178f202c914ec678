//! Response normalization (paper §3.3): each number by its neighbors in adjacent maps.
//!
//! Neither pass stores the scale: a CPU computes it faster than it reads it.

use std::ops::Range;

use model::recipe::Activation;
use multiversion::multiversion;
use rayon::prelude::*;

use super::activation::derive;
use super::{Cpu, Floats, Scratch};
use crate::backend::Run;
use crate::error::Result;
use crate::ops::{Lrn, LrnBackward, LrnForward};

/// Pixels worked at once through all maps: enough for the memory to run ahead, few enough for a
/// window's maps to stay in the first-level cache.
const BLOCK: usize = 768;

/// Pixels worked at once backward, where two numbers of every map stay in the second-level cache.
const BACKWARD_BLOCK: usize = 256;

impl Run<LrnForward<'_, Floats>> for Cpu {
    fn run(&mut self, op: LrnForward<'_, Floats>) -> Result<()> {
        let LrnForward { lrn, images, x, scale: _, y } = op;
        let image = lrn.maps * lrn.pixels;
        let x = x.images(&images, image)?;
        let y = y.images_mut(&images, image)?;
        let share = (self.share(images.len()) * image).max(1);
        self.pool.install(|| {
            y.par_chunks_mut(share).zip(x.par_chunks(share)).for_each(|(y, x)| {
                for (y, x) in y.chunks_exact_mut(image).zip(x.chunks_exact(image)) {
                    forward_image(lrn, x, y);
                }
            });
        });
        Ok(())
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(super) fn forward_image(lrn: &Lrn, x: &[f32], y: &mut [f32]) {
    let (mut scale, mut power) = ([0.0_f32; BLOCK], [0.0_f32; BLOCK]);
    for pixel in (0..lrn.pixels).step_by(BLOCK) {
        let n = BLOCK.min(lrn.pixels - pixel);
        let (scale, power) = (&mut scale[..n], &mut power[..n]);
        for map in 0..lrn.maps {
            scales(lrn, x, map, pixel, scale);
            powers(lrn.beta, scale, power);
            let at = map * lrn.pixels + pixel;
            let (x, y) = (&x[at..][..n], &mut y[at..][..n]);
            for ((y, x), power) in y.iter_mut().zip(x).zip(&*power) {
                *y = x * power;
            }
        }
    }
}

/// The maps around `map` that its window holds: `before` in front of it, `size` in all, cut off
/// at its group's edges.
#[inline(always)]
fn window(lrn: &Lrn, map: usize, before: usize) -> Range<usize> {
    let group = lrn.maps / lrn.groups;
    let first = map / group * group;
    let from = map.saturating_sub(before).max(first);
    from..(map + lrn.size - before).min(first + group)
}

/// `to = k + α Σ x²` over the window of `map`, for the pixels from `pixel` on.
#[inline(always)]
fn scales(lrn: &Lrn, x: &[f32], map: usize, pixel: usize, to: &mut [f32]) {
    sum(window(lrn, map, lrn.size / 2), &x[pixel..], lrn.pixels, |x| x * x, to);
    for scale in to {
        *scale = lrn.k + lrn.alpha * *scale;
    }
}

/// `to[i] = Σ term(values[map · stride + i])` over some maps.
#[inline(always)]
fn sum(
    maps: Range<usize>,
    values: &[f32],
    stride: usize,
    term: impl Fn(f32) -> f32,
    to: &mut [f32],
) {
    /// Sums that stay in registers.
    const LANES: usize = 64;
    let (blocks, rest) = to.as_chunks_mut::<LANES>();
    let done = blocks.len() * LANES;
    for (i, to) in blocks.iter_mut().enumerate() {
        let mut sums = [0.0; LANES];
        for map in maps.clone() {
            let Some(values) = values[map * stride + i * LANES..].first_chunk::<LANES>() else {
                unreachable!("a map has as many numbers as there are sums");
            };
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += term(*value);
            }
        }
        *to = sums;
    }
    rest.fill(0.0);
    for map in maps {
        for (sum, value) in rest.iter_mut().zip(&values[map * stride + done..]) {
            *sum += term(*value);
        }
    }
}

/// `to = scale^−β`. The paper's β needs roots only, which vectors have.
#[inline(always)]
fn powers(beta: f32, scale: &[f32], to: &mut [f32]) {
    if beta == 0.75 {
        for (to, scale) in to.iter_mut().zip(scale) {
            let root = scale.sqrt();
            *to = 1.0 / (root * root.sqrt());
        }
    } else {
        for (to, scale) in to.iter_mut().zip(scale) {
            *to = libm::powf(*scale, -beta);
        }
    }
}

impl Run<LrnBackward<'_, Floats>> for Cpu {
    fn run(&mut self, op: LrnBackward<'_, Floats>) -> Result<()> {
        let LrnBackward { lrn, images, x, scale: _, y: _, dy, dx } = op;
        let image = lrn.maps * lrn.pixels;
        let x = x.images(&images, image)?;
        let dy = dy.images(&images, image)?;
        let dx = dx.images_mut(&images, image)?;
        let share = (self.share(images.len()) * image).max(1);
        let Cpu { pool, scratch, .. } = self;
        pool.install(|| {
            let work = dx.par_chunks_mut(share).zip(x.par_chunks(share).zip(dy.par_chunks(share)));
            work.zip(scratch).for_each(|((dx, (x, dy)), Scratch { columns, .. })| {
                let memory = columns.take(backward_memory(lrn));
                let inputs = x.chunks_exact(image).zip(dy.chunks_exact(image));
                for (dx, (x, dy)) in dx.chunks_exact_mut(image).zip(inputs) {
                    backward_image(lrn, None, x, dy, memory, dx);
                }
            });
        });
        Ok(())
    }
}

/// Numbers of working memory that [`backward_image`] needs.
pub(super) fn backward_memory(lrn: &Lrn) -> usize {
    2 * lrn.maps * BACKWARD_BLOCK
}

/// Gradient of one image's `x`, and of the input of the activation that made it, if there is one.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(super) fn backward_image(
    lrn: &Lrn,
    activation: Option<Activation>,
    x: &[f32],
    dy: &[f32],
    memory: &mut [f32],
    dx: &mut [f32],
) {
    const BLOCK: usize = BACKWARD_BLOCK;
    let factor = 2.0 * lrn.alpha * lrn.beta;
    // A map's number is in the windows of those it would see with the window turned round.
    let before = (lrn.size - 1) / 2;
    let (all_powers, shares) = memory.split_at_mut(lrn.maps * BLOCK);
    for pixel in (0..lrn.pixels).step_by(BLOCK) {
        let n = BLOCK.min(lrn.pixels - pixel);
        for map in 0..lrn.maps {
            let mut scale = [0.0_f32; BLOCK];
            let scale = &mut scale[..n];
            scales(lrn, x, map, pixel, scale);
            let [power, share] =
                [&mut *all_powers, &mut *shares].map(|all| &mut all[map * BLOCK..][..n]);
            powers(lrn.beta, scale, power);
            let at = map * lrn.pixels + pixel;
            let (x, dy) = (&x[at..][..n], &dy[at..][..n]);
            for ((((share, dy), x), power), scale) in
                share.iter_mut().zip(dy).zip(x).zip(&*power).zip(&*scale)
            {
                *share = dy * (x * power) / scale;
            }
        }
        for map in 0..lrn.maps {
            let mut sums = [0.0_f32; BLOCK];
            sum(window(lrn, map, before), shares, BLOCK, |share| share, &mut sums[..n]);
            let at = map * lrn.pixels + pixel;
            let (dx, dy, x) = (&mut dx[at..][..n], &dy[at..][..n], &x[at..][..n]);
            let power = &all_powers[map * BLOCK..][..n];
            for ((((dx, dy), x), power), sum) in dx.iter_mut().zip(dy).zip(x).zip(power).zip(&sums)
            {
                *dx = dy * power - factor * x * sum;
            }
            if let Some(activation) = activation {
                derive(activation, x, dx);
            }
        }
    }
}
