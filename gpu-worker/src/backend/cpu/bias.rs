//! Biases: added to a convolution's maps, and their gradients.

use model::recipe::Activation;
use multiversion::multiversion;

use super::activation::activate;
use super::add::add_to;
use super::{Cpu, Floats};
use crate::backend::Run;
use crate::error::Result;
use crate::ops::{Accumulate, BiasBackward};

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

impl Run<BiasBackward<'_, Floats>> for Cpu {
    fn run(&mut self, op: BiasBackward<'_, Floats>) -> Result<()> {
        let BiasBackward { maps, pixels, images, dy, accumulate, db } = op;
        let dy = dy.images(&images, maps * pixels)?;
        let db = db.exactly_mut(maps)?;
        self.each(maps, db, |db, first| {
            if accumulate == Accumulate::Overwrite {
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
