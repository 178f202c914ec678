//! Pixels to the numbers the network reads.

use super::{Bytes, Cuda, Floats};
use crate::backend::Images;
use crate::error::Result;

const COLORS: usize = 3;

/// What `places` says of each image: row, column, flip, three shifts.
const PLACES: usize = 6;

#[expect(clippy::too_many_arguments, reason = "the trait's list")]
pub(super) fn forward(
    dev: &Cuda,
    images: Images,
    crop: usize,
    side: usize,
    pixels: &Bytes,
    places: &Floats,
    mean: &Floats,
    y: &mut Floats,
) -> Result<()> {
    let image = COLORS * crop * crop;
    let at = pixels.images(&images, image)?;
    let place = places.images(&images, PLACES)?;
    mean.exactly(COLORS * side * side)?;
    y.images(&images, image)?;
    let n = images.len() * image;
    // SAFETY: order and types are those of input.cu; pixels, places and y hold these images
    // (checked above), and a place beyond the mean is kept inside it by the kernel.
    unsafe {
        dev.call("input")
            .write(y, at)
            .read_bytes(pixels, at)
            .read(places, place)
            .read(mean, 0)
            .int(crop)
            .int(side)
            .int(n)
            .one_thread_each(n)
    }
}
