//! What surrounds the products: biases, their gradients, sums of two tensors.

use model::recipe::Activation;
use multiversion::multiversion;
use rayon::prelude::*;

use super::relu::activate;
use super::{Cpu, Floats};
use crate::backend::{Images, Sum};
use crate::error::Result;

/// Adds each map its bias, then activates: one image, `y` `[maps, pixels]`.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(super) fn finish_maps(bias: &[f32], activation: Option<Activation>, y: &mut [f32]) {
    let pixels = y.len() / bias.len().max(1);
    for (y, bias) in y.chunks_exact_mut(pixels.max(1)).zip(bias) {
        for y in y.iter_mut() {
            *y += bias;
        }
        if let Some(activation) = activation {
            activate(activation, y);
        }
    }
}

pub(super) fn bias_backward(
    cpu: &Cpu,
    maps: usize,
    pixels: usize,
    images: Images,
    dy: &Floats,
    sum: Sum,
    db: &mut Floats,
) -> Result<()> {
    let dy = dy.images(&images, maps * pixels)?;
    let db = db.exactly_mut(maps)?;
    cpu.each(maps, db, |db, first| {
        if sum == Sum::Start {
            db.fill(0.0);
        }
        for dy in dy.chunks_exact(maps * pixels) {
            let dy = &dy[first * pixels..(first + db.len()) * pixels];
            if pixels == 1 {
                add_to(db, dy);
            } else {
                for (db, dy) in db.iter_mut().zip(dy.chunks_exact(pixels)) {
                    *db += total(dy);
                }
            }
        }
    });
    Ok(())
}

/// The sum of many numbers: 32 running sums, so that a vector register adds at once.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn total(values: &[f32]) -> f32 {
    let (blocks, rest) = values.as_chunks::<32>();
    let mut sums = [0.0_f32; 32];
    for block in blocks {
        for (sum, value) in sums.iter_mut().zip(block) {
            *sum += value;
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum += value;
    }
    sums.iter().sum()
}

pub(super) fn add(
    cpu: &Cpu,
    len: usize,
    images: Images,
    from: &Floats,
    to: &mut Floats,
) -> Result<()> {
    let from = from.images(&images, len)?;
    let to = to.images_mut(&images, len)?;
    let share = cpu.share(images.len()) * len.max(1);
    cpu.pool.install(|| {
        to.par_chunks_mut(share)
            .zip(from.par_chunks(share))
            .for_each(|(to, from)| add_to(to, from));
    });
    Ok(())
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(super) fn add_to(to: &mut [f32], from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}
