//! Response normalization (paper §3.3).

use super::launch::THREADS;
use super::{Cuda, Floats};
use crate::backend::Run;
use crate::error::{Error, Result};
use crate::ops::{Images, Lrn, LrnBackward, LrnForward};

/// Pixels along x, then maps, then images.
fn grid(lrn: &Lrn, images: &Images) -> [usize; 3] {
    [lrn.pixels.div_ceil(THREADS as usize), lrn.maps, images.len()]
}

/// Numbers in an image, if the maps fall into whole groups.
fn image(lrn: &Lrn) -> Result<usize> {
    if lrn.groups == 0 || !lrn.maps.is_multiple_of(lrn.groups) {
        return Err(Error::Shape { tensor: "groups of maps", got: lrn.groups, want: lrn.maps });
    }
    Ok(lrn.maps * lrn.pixels)
}

impl Run<LrnForward<'_, Floats>> for Cuda {
    fn run(&mut self, op: LrnForward<'_, Floats>) -> Result<()> {
        let LrnForward { lrn, images, x, scale, y } = op;
        let image = image(lrn)?;
        let at = x.images(&images, image)?;
        scale.images(&images, image)?;
        y.images(&images, image)?;
        // SAFETY: order and types are those of lrn.cu; x, scale and y hold these images.
        unsafe {
            self.call("lrn_forward")
                .write(y, at)
                .write(scale, at)
                .read(x, at)
                .float(lrn.k)
                .float(lrn.alpha)
                .float(lrn.beta)
                .int(lrn.size)
                .int(lrn.maps / lrn.groups)
                .int(lrn.pixels)
                .launch(grid(lrn, &images), THREADS)
        }
    }
}

impl Run<LrnBackward<'_, Floats>> for Cuda {
    fn run(&mut self, op: LrnBackward<'_, Floats>) -> Result<()> {
        let LrnBackward { lrn, images, x, scale, y, dy, dx } = op;
        let image = image(lrn)?;
        let at = x.images(&images, image)?;
        for buffer in [scale, y, dy, &*dx] {
            buffer.images(&images, image)?;
        }
        // SAFETY: order and types are those of lrn.cu; all five hold these images.
        unsafe {
            self.call("lrn_backward")
                .write(dx, at)
                .read(dy, at)
                .read(x, at)
                .read(y, at)
                .read(scale, at)
                .float(2.0 * lrn.alpha * lrn.beta)
                .float(lrn.beta)
                .int(lrn.size)
                .int(lrn.maps / lrn.groups)
                .int(lrn.pixels)
                .launch(grid(lrn, &images), THREADS)
        }
    }
}
