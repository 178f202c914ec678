//! Multiplication by a factor: dropout at test time (paper §4.2).

use multiversion::multiversion;

use super::{Cpu, Floats};
use crate::backend::Run;
use crate::error::Result;
use crate::ops::Scale;

impl Run<Scale<'_, Floats>> for Cpu {
    fn run(&mut self, op: Scale<'_, Floats>) -> Result<()> {
        let Scale { factor, len, images, y } = op;
        let y = y.images_mut(&images, len)?;
        self.each(images.len(), y, |y, _| multiply(factor, y));
        Ok(())
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(super) fn multiply(factor: f32, y: &mut [f32]) {
    for y in y {
        *y *= factor;
    }
}
