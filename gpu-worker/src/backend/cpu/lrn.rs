//! Response normalization (paper §3.3): each number by its neighbors in adjacent maps.

use std::ops::Range;

use multiversion::multiversion;
use rayon::prelude::*;

use super::{Cpu, Floats, Scratch};
use crate::backend::Run;
use crate::error::Result;
use crate::ops::{Lrn, LrnBackward, LrnForward};

/// Pixels worked at once through all maps: enough for the memory to run ahead, few enough for a
/// window's maps to stay in the first-level cache.
const BLOCK: usize = 768;

impl Run<LrnForward<'_, Floats>> for Cpu {
    fn run(&mut self, op: LrnForward<'_, Floats>) -> Result<()> {
        let LrnForward { lrn, images, x, scale, y } = op;
        let image = lrn.maps * lrn.pixels;
        let x = x.images(&images, image)?;
        let scale = scale.images_mut(&images, image)?;
        let y = y.images_mut(&images, image)?;
        let share = (self.share(images.len()) * image).max(1);
        self.pool.install(|| {
            let outputs = y.par_chunks_mut(share).zip(scale.par_chunks_mut(share));
            outputs.zip(x.par_chunks(share)).for_each(|((y, scale), x)| {
                let outputs = y.chunks_exact_mut(image).zip(scale.chunks_exact_mut(image));
                for ((y, scale), x) in outputs.zip(x.chunks_exact(image)) {
                    forward_image(lrn, x, scale, y);
                }
            });
        });
        Ok(())
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn forward_image(lrn: &Lrn, x: &[f32], scale: &mut [f32], y: &mut [f32]) {
    for pixel in (0..lrn.pixels).step_by(BLOCK) {
        let n = BLOCK.min(lrn.pixels - pixel);
        for map in 0..lrn.maps {
            let mut squares = [0.0_f32; BLOCK];
            let squares = &mut squares[..n];
            for neighbor in window(lrn, map, lrn.size / 2) {
                let x = &x[neighbor * lrn.pixels + pixel..][..n];
                for (sum, x) in squares.iter_mut().zip(x) {
                    *sum += x * x;
                }
            }
            let at = map * lrn.pixels + pixel;
            let (x, scale, y) = (&x[at..][..n], &mut scale[at..][..n], &mut y[at..][..n]);
            for (scale, sum) in scale.iter_mut().zip(squares) {
                *scale = lrn.k + lrn.alpha * *sum;
            }
            powers(lrn.beta, scale, y);
            for (y, x) in y.iter_mut().zip(x) {
                *y *= x;
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
        let LrnBackward { lrn, images, x, scale, y, dy, dx } = op;
        let image = lrn.maps * lrn.pixels;
        let x = x.images(&images, image)?;
        let scale = scale.images(&images, image)?;
        let y = y.images(&images, image)?;
        let dy = dy.images(&images, image)?;
        let dx = dx.images_mut(&images, image)?;
        let share = self.share(images.len());
        let Cpu { pool, scratch, .. } = self;
        pool.install(|| {
            let work = dx.par_chunks_mut((share * image).max(1)).enumerate();
            work.zip(scratch).for_each(|((i, dx), Scratch { columns, .. })| {
                let shares = columns.take(lrn.maps * BLOCK);
                for (j, dx) in dx.chunks_exact_mut(image).enumerate() {
                    let at = (i * share + j) * image..(i * share + j + 1) * image;
                    let [x, scale, y, dy] = [x, scale, y, dy].map(|all| &all[at.clone()]);
                    backward_image(lrn, x, scale, y, dy, shares, dx);
                }
            });
        });
        Ok(())
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn backward_image(
    lrn: &Lrn,
    x: &[f32],
    scale: &[f32],
    y: &[f32],
    dy: &[f32],
    shares: &mut [f32],
    dx: &mut [f32],
) {
    let factor = 2.0 * lrn.alpha * lrn.beta;
    // A map's number is in the windows of those it would see with the window turned round.
    let before = (lrn.size - 1) / 2;
    for pixel in (0..lrn.pixels).step_by(BLOCK) {
        let n = BLOCK.min(lrn.pixels - pixel);
        for (map, shares) in shares.chunks_exact_mut(BLOCK).enumerate() {
            let at = map * lrn.pixels + pixel;
            let (dy, y, scale) = (&dy[at..][..n], &y[at..][..n], &scale[at..][..n]);
            for (((share, dy), y), scale) in shares.iter_mut().zip(dy).zip(y).zip(scale) {
                *share = dy * y / scale;
            }
        }
        for map in 0..lrn.maps {
            let mut sums = [0.0_f32; BLOCK];
            for neighbor in window(lrn, map, before) {
                let shares = &shares[neighbor * BLOCK..][..BLOCK];
                for (sum, share) in sums.iter_mut().zip(shares) {
                    *sum += share;
                }
            }
            let at = map * lrn.pixels + pixel;
            let dx = &mut dx[at..][..n];
            powers(lrn.beta, &scale[at..][..n], dx);
            let (dy, x) = (&dy[at..][..n], &x[at..][..n]);
            for (((dx, dy), x), sum) in dx.iter_mut().zip(dy).zip(x).zip(&sums) {
                *dx = dy * *dx - factor * x * sum;
            }
        }
    }
}
