//! Full layers: one matrix product over all images.

use rayon::prelude::*;

use super::buffer::check_part;
use super::product::{Matrix, product, transpose};
use super::relu::activate;
use super::sum::add_to;
use super::{Cpu, Floats, Scratch};
use crate::backend::{Finish, Full, Images, Part, Sum};
use crate::error::Result;

/// Images are computed in whole blocks of this many: fewer would take other paths in the library,
/// with other bits.
const BLOCK: usize = 16;

#[expect(clippy::too_many_arguments, reason = "the trait's list")]
pub(super) fn forward(
    cpu: &mut Cpu,
    full: &Full,
    images: Images,
    x: &Floats,
    part: &Part,
    w: &Floats,
    sum: Sum,
    finish: Option<Finish<'_, Floats>>,
    y: &mut Floats,
) -> Result<()> {
    check_part(part, full.inputs)?;
    let (inputs, units, n) = (part.0.len(), full.units, images.len());
    let x = x.images(&images, inputs)?;
    let w = w.exactly(full.inputs * units)?;
    let bias = finish.as_ref().map(|finish| finish.bias.exactly(units)).transpose()?;
    let activation = finish.as_ref().and_then(|finish| finish.activation);
    let y = y.images_mut(&images, units)?;

    // The product is computed transposed, images side by side: so the weights, which are most of
    // the memory, are read in place and once.
    let padded = n.next_multiple_of(BLOCK);
    let (share, image_share) = (cpu.share(units), cpu.share(n));
    let Cpu { pool, scratch, .. } = cpu;
    let Some(Scratch { padded: xt, columns: yt, .. }) = scratch.first_mut() else { return Ok(()) };
    let (xt, yt) = (xt.take(inputs * padded), yt.take(units * padded));
    xt.fill(0.0);
    transpose(Sum::Start, [n, inputs], x, inputs, xt, padded);
    pool.install(|| {
        yt.par_chunks_mut(share * padded).enumerate().for_each(|(i, yt)| {
            let w = Matrix::rows(&w[i * share * full.inputs + part.0.start..], full.inputs);
            let x = Matrix::rows(xt, padded);
            product([yt.len() / padded, padded, inputs], Sum::Start, w, x, yt, padded);
        });
    });
    pool.install(|| {
        y.par_chunks_mut(image_share * units).enumerate().for_each(|(i, y)| {
            let yt = &yt[i * image_share..];
            let images = y.len() / units;
            transpose(sum, [units, images], yt, padded, y, units);
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

pub(super) fn backward_inputs(
    cpu: &mut Cpu,
    full: &Full,
    images: Images,
    dy: &Floats,
    w: &Floats,
    part: &Part,
    dx: &mut Floats,
) -> Result<()> {
    check_part(part, full.inputs)?;
    let (inputs, units) = (part.0.len(), full.units);
    let dy = dy.images(&images, units)?;
    let w = Matrix::rows(&w.exactly(full.inputs * units)?[part.0.start..], full.inputs);
    let dx = dx.images_mut(&images, inputs)?;
    let share = cpu.share(images.len());
    let Cpu { pool, scratch, .. } = cpu;
    pool.install(|| {
        let work = dx.par_chunks_mut(share * inputs).zip(dy.par_chunks(share * units));
        work.zip(scratch).for_each(|((dx, dy), Scratch { columns, .. })| {
            let n = dx.len() / inputs;
            if n == 1 {
                // One row would take another path in the library, with other bits: take it twice.
                let twice = columns.take(2 * inputs);
                let dy = Matrix::rows(dy, 0);
                product([2, inputs, units], Sum::Start, dy, w, twice, inputs);
                dx.copy_from_slice(&twice[..inputs]);
            } else {
                let dy = Matrix::rows(dy, units);
                product([n, inputs, units], Sum::Start, dy, w, dx, inputs);
            }
        });
    });
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "the trait's list")]
pub(super) fn backward_weights(
    cpu: &Cpu,
    full: &Full,
    images: Images,
    x: &Floats,
    part: &Part,
    dy: &Floats,
    sum: Sum,
    dw: &mut Floats,
) -> Result<()> {
    check_part(part, full.inputs)?;
    let (inputs, units) = (part.0.len(), full.units);
    let x = x.images(&images, inputs)?;
    let dy = dy.images(&images, units)?;
    let dw = dw.exactly_mut(full.inputs * units)?;
    let share = cpu.share(units);
    cpu.pool.install(|| {
        dw.par_chunks_mut(share * full.inputs).enumerate().for_each(|(i, dw)| {
            let rows = dw.len() / full.inputs;
            let dw = &mut dw[part.0.start..];
            let dy = Matrix::rows(dy.get(i * share..).unwrap_or_default(), units).t();
            let x = Matrix::rows(x, inputs);
            product([rows, inputs, images.len()], sum, dy, x, dw, full.inputs);
        });
    });
    Ok(())
}
