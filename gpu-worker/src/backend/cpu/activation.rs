//! Activations: max(0, x) (paper §3.1), and tanh for the comparison of Figure 1.

use model::recipe::Activation;
use multiversion::multiversion;
use rayon::prelude::*;

use super::{Cpu, Floats};
use crate::backend::Run;
use crate::error::Result;
use crate::ops::{ActivationBackward, ActivationForward};

impl Run<ActivationForward<'_, Floats>> for Cpu {
    fn run(&mut self, op: ActivationForward<'_, Floats>) -> Result<()> {
        let ActivationForward { activation, len, images, y } = op;
        let y = y.images_mut(&images, len)?;
        self.each(images.len(), y, |y, _| activate(activation, y));
        Ok(())
    }
}

/// Activates in place. What is not a number stays so: divergence must show in the loss.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(super) fn activate(activation: Activation, y: &mut [f32]) {
    match activation {
        Activation::Relu => {
            for y in y {
                *y = if *y < 0.0 { 0.0 } else { *y };
            }
        }
        Activation::Tanh => {
            for y in y {
                *y = libm::tanhf(*y);
            }
        }
    }
}

impl Run<ActivationBackward<'_, Floats>> for Cpu {
    fn run(&mut self, op: ActivationBackward<'_, Floats>) -> Result<()> {
        let ActivationBackward { activation, len, images, y, dy } = op;
        let y = y.images(&images, len)?;
        let dy = dy.images_mut(&images, len)?;
        let share = self.share(images.len()) * len.max(1);
        self.pool.install(|| {
            dy.par_chunks_mut(share)
                .zip(y.par_chunks(share))
                .for_each(|(dy, y)| derive(activation, y, dy));
        });
        Ok(())
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(super) fn derive(activation: Activation, y: &[f32], dy: &mut [f32]) {
    match activation {
        Activation::Relu => {
            for (dy, y) in dy.iter_mut().zip(y) {
                *dy = if *y > 0.0 { *dy } else { 0.0 };
            }
        }
        Activation::Tanh => {
            for (dy, y) in dy.iter_mut().zip(y) {
                *dy *= 1.0 - y * y;
            }
        }
    }
}
