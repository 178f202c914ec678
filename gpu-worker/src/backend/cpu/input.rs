//! Pixels to the numbers the network reads: minus the mean, mirrored, with the color shift.

use multiversion::multiversion;
use rayon::prelude::*;

use super::{Bytes, Cpu, Floats};
use crate::backend::Run;
use crate::error::{Error, Result};
use crate::ops::Input;

const COLORS: usize = 3;

/// Numbers per image in `crops`: row, column, flip, three shifts.
const PLACES: usize = 6;

impl Run<Input<'_, Floats, Bytes>> for Cpu {
    fn run(&mut self, op: Input<'_, Floats, Bytes>) -> Result<()> {
        let Input { images, crop, side, pixels, crops, mean, y } = op;
        let image = COLORS * crop * crop;
        let pixels = pixels.images(&images, image)?;
        let crops = crops.images(&images, PLACES)?;
        let mean = mean.exactly(COLORS * side * side)?;
        for crop_at in crops.chunks_exact(PLACES) {
            let beyond = (crop_at[0].max(crop_at[1]) as usize).saturating_add(crop);
            if beyond > side {
                return Err(Error::Shape { tensor: "mean", got: side, want: beyond });
            }
        }
        let y = y.images_mut(&images, image)?;
        let share = self.share(images.len());
        self.pool.install(|| {
            let work = y.par_chunks_mut((share * image).max(1));
            let work = work.zip(pixels.par_chunks((share * image).max(1)));
            work.zip(crops.par_chunks(share * PLACES)).for_each(|((y, pixels), crops)| {
                let images = y.chunks_exact_mut(image).zip(pixels.chunks_exact(image));
                for ((y, pixels), crop_at) in images.zip(crops.chunks_exact(PLACES)) {
                    one(crop, side, pixels, crop_at, mean, y);
                }
            });
        });
        Ok(())
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn one(crop: usize, side: usize, pixels: &[u8], crop_at: &[f32], mean: &[f32], y: &mut [f32]) {
    let (row, column, flip) = (crop_at[0] as usize, crop_at[1] as usize, crop_at[2] != 0.0);
    let colors = y.chunks_exact_mut(crop * crop).zip(pixels.chunks_exact(crop * crop));
    for (color, (y, pixels)) in colors.enumerate() {
        let shift = crop_at[3 + color];
        let mean = &mean[(color * side + row) * side..];
        let rows = y.chunks_exact_mut(crop).zip(pixels.chunks_exact(crop));
        for ((y, pixels), mean) in rows.zip(mean.chunks(side)) {
            for ((y, p), m) in y.iter_mut().zip(pixels).zip(&mean[column..]) {
                *y = f32::from(*p) - m + shift;
            }
            if flip {
                y.reverse();
            }
        }
    }
}
