//! Pixels to the numbers the network reads: minus the mean, mirrored, with the colour shift.

use multiversion::multiversion;
use rayon::prelude::*;

use super::{Bytes, Cpu, Floats};
use crate::backend::Images;
use crate::error::{Error, Result};

const COLORS: usize = 3;

/// What `places` says of each image: row, column, flip, three shifts.
const PLACES: usize = 6;

#[expect(clippy::too_many_arguments, reason = "the trait's list")]
pub(super) fn forward(
    cpu: &Cpu,
    images: Images,
    crop: usize,
    side: usize,
    pixels: &Bytes,
    places: &Floats,
    mean: &Floats,
    y: &mut Floats,
) -> Result<()> {
    let image = COLORS * crop * crop;
    let pixels = pixels.images(&images, image)?;
    let places = places.images(&images, PLACES)?;
    let mean = mean.exactly(COLORS * side * side)?;
    for place in places.chunks_exact(PLACES) {
        let beyond = (place[0].max(place[1]) as usize).saturating_add(crop);
        if beyond > side {
            return Err(Error::Shape { tensor: "mean", got: side, want: beyond });
        }
    }
    let y = y.images_mut(&images, image)?;
    let share = cpu.share(images.len());
    cpu.pool.install(|| {
        let work = y.par_chunks_mut((share * image).max(1));
        let work = work.zip(pixels.par_chunks((share * image).max(1)));
        work.zip(places.par_chunks(share * PLACES)).for_each(|((y, pixels), places)| {
            let images = y.chunks_exact_mut(image).zip(pixels.chunks_exact(image));
            for ((y, pixels), place) in images.zip(places.chunks_exact(PLACES)) {
                one(crop, side, pixels, place, mean, y);
            }
        });
    });
    Ok(())
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn one(crop: usize, side: usize, pixels: &[u8], place: &[f32], mean: &[f32], y: &mut [f32]) {
    let (row, column, flip) = (place[0] as usize, place[1] as usize, place[2] != 0.0);
    let colors = y.chunks_exact_mut(crop * crop).zip(pixels.chunks_exact(crop * crop));
    for (color, (y, pixels)) in colors.enumerate() {
        let shift = place[3 + color];
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
