//! Sums of two tensors.

use multiversion::multiversion;
use rayon::prelude::*;

use super::{Cpu, Floats};
use crate::backend::Run;
use crate::error::Result;
use crate::ops::Add;

impl Run<Add<'_, Floats>> for Cpu {
    fn run(&mut self, op: Add<'_, Floats>) -> Result<()> {
        let Add { len, images, from, to } = op;
        let from = from.images(&images, len)?;
        let to = to.images_mut(&images, len)?;
        let share = self.share(images.len()) * len.max(1);
        self.pool.install(|| {
            to.par_chunks_mut(share)
                .zip(from.par_chunks(share))
                .for_each(|(to, from)| add_to(to, from));
        });
        Ok(())
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(super) fn add_to(to: &mut [f32], from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}
