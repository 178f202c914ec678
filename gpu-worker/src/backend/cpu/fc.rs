//! Full layers: one matrix product over all images.

use rayon::prelude::*;

use super::activation::activate;
use super::add::add_to;
use super::gemm::{Matrix, product, transpose};
use super::{Cpu, Floats, Scratch};
use crate::backend::Run;
use crate::error::Result;
use crate::ops::{Accumulate, FcBackwardInputs, FcBackwardWeights, FcForward};

/// Images are computed in whole blocks of this many: fewer would take other paths in the library,
/// with other bits.
const BLOCK: usize = 16;

impl Run<FcForward<'_, Floats>> for Cpu {
    fn run(&mut self, op: FcForward<'_, Floats>) -> Result<()> {
        let FcForward { fc, images, x, range, w, accumulate, epilogue, y } = op;
        range.check(fc.inputs)?;
        let (inputs, units, n) = (range.0.len(), fc.units, images.len());
        let x = x.images(&images, inputs)?;
        let w = w.exactly(fc.inputs * units)?;
        let bias = epilogue.as_ref().map(|epilogue| epilogue.bias.exactly(units)).transpose()?;
        let activation = epilogue.as_ref().and_then(|epilogue| epilogue.activation);
        let y = y.images_mut(&images, units)?;

        // The product is computed transposed, images side by side: so the weights, which are most
        // of the memory, are read in place and once.
        let padded = n.next_multiple_of(BLOCK);
        let (share, image_share) = (self.share(units), self.share(n));
        let Cpu { pool, scratch, .. } = self;
        let Some(Scratch { padded: xt, columns: yt, .. }) = scratch.first_mut() else {
            return Ok(());
        };
        let (xt, yt) = (xt.take(inputs * padded), yt.take(units * padded));
        xt.fill(0.0);
        transpose(Accumulate::Overwrite, [n, inputs], x, inputs, xt, padded);
        pool.install(|| {
            yt.par_chunks_mut(share * padded).enumerate().for_each(|(i, yt)| {
                let w = Matrix::rows(&w[i * share * fc.inputs + range.0.start..], fc.inputs);
                let x = Matrix::rows(xt, padded);
                product(
                    [yt.len() / padded, padded, inputs],
                    Accumulate::Overwrite,
                    w,
                    x,
                    yt,
                    padded,
                );
            });
        });
        pool.install(|| {
            y.par_chunks_mut(image_share * units).enumerate().for_each(|(i, y)| {
                let yt = &yt[i * image_share..];
                let images = y.len() / units;
                transpose(accumulate, [units, images], yt, padded, y, units);
                let Some(bias) = bias else { return };
                for y in y.chunks_exact_mut(units) {
                    add_to(y, bias);
                }
                if let Some(activation) = activation {
                    activate(activation, y);
                }
            });
        });
        Ok(())
    }
}

impl Run<FcBackwardInputs<'_, Floats>> for Cpu {
    fn run(&mut self, op: FcBackwardInputs<'_, Floats>) -> Result<()> {
        let FcBackwardInputs { fc, images, dy, w, range, dx } = op;
        range.check(fc.inputs)?;
        let (inputs, units) = (range.0.len(), fc.units);
        let dy = dy.images(&images, units)?;
        let w = Matrix::rows(&w.exactly(fc.inputs * units)?[range.0.start..], fc.inputs);
        let dx = dx.images_mut(&images, inputs)?;
        let share = self.share(images.len());
        let Cpu { pool, scratch, .. } = self;
        pool.install(|| {
            let work = dx.par_chunks_mut(share * inputs).zip(dy.par_chunks(share * units));
            work.zip(scratch).for_each(|((dx, dy), Scratch { columns, .. })| {
                let n = dx.len() / inputs;
                if n == 1 {
                    // One row would take another path in the library, with other bits: take it
                    // twice.
                    let twice = columns.take(2 * inputs);
                    let dy = Matrix::rows(dy, 0);
                    product([2, inputs, units], Accumulate::Overwrite, dy, w, twice, inputs);
                    dx.copy_from_slice(&twice[..inputs]);
                } else {
                    let dy = Matrix::rows(dy, units);
                    product([n, inputs, units], Accumulate::Overwrite, dy, w, dx, inputs);
                }
            });
        });
        Ok(())
    }
}

impl Run<FcBackwardWeights<'_, Floats>> for Cpu {
    fn run(&mut self, op: FcBackwardWeights<'_, Floats>) -> Result<()> {
        let FcBackwardWeights { fc, images, x, range, dy, accumulate, dw } = op;
        range.check(fc.inputs)?;
        let (inputs, units) = (range.0.len(), fc.units);
        let x = x.images(&images, inputs)?;
        let dy = dy.images(&images, units)?;
        let dw = dw.exactly_mut(fc.inputs * units)?;
        let share = self.share(units);
        self.pool.install(|| {
            dw.par_chunks_mut(share * fc.inputs).enumerate().for_each(|(i, dw)| {
                let rows = dw.len() / fc.inputs;
                let dw = &mut dw[range.0.start..];
                let dy = Matrix::rows(dy.get(i * share..).unwrap_or_default(), units).t();
                let x = Matrix::rows(x, inputs);
                product([rows, inputs, images.len()], accumulate, dy, x, dw, fc.inputs);
            });
        });
        Ok(())
    }
}
