//! Pixels to the numbers the network reads.

use super::{Bytes, Cuda, Floats};
use crate::backend::Run;
use crate::error::Result;
use crate::ops::Input;

const COLORS: usize = 3;

/// Numbers per image in `crops`: row, column, flip, three shifts.
const PLACES: usize = 6;

impl Run<Input<'_, Floats, Bytes>> for Cuda {
    fn run(&mut self, op: Input<'_, Floats, Bytes>) -> Result<()> {
        let Input { images, crop, side, pixels, crops, mean, y } = op;
        let image = COLORS * crop * crop;
        let at = pixels.images(&images, image)?;
        let crop_at = crops.images(&images, PLACES)?;
        mean.exactly(COLORS * side * side)?;
        y.images(&images, image)?;
        let n = images.len() * image;
        // SAFETY: order and types are those of input.cu; pixels, crops and y hold these images
        // (checked above), and a crop_at beyond the mean is kept inside it by the kernel.
        unsafe {
            self.call("input")
                .write(y, at)
                .read_bytes(pixels, at)
                .read(crops, crop_at)
                .read(mean, 0)
                .int(crop)
                .int(side)
                .int(n)
                .one_thread_each(n)
        }
    }
}
