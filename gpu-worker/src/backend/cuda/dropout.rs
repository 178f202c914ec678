//! Dropout (paper §4.2): the same masks as on the CPU, bit for bit.

use super::launch::THREADS;
use super::{Cuda, Floats};
use crate::backend::Run;
use crate::error::Result;
use crate::ops::Dropout;

impl Run<Dropout<'_, Floats>> for Cuda {
    fn run(&mut self, op: Dropout<'_, Floats>) -> Result<()> {
        let Dropout { mask, images, y } = op;
        let at = y.images(&images, mask.units)?;
        // A word below this is silence: a whole number, so that no rounding decides.
        let threshold = (f64::from(mask.rate) * 4_294_967_296.0).ceil() as u64;
        // A thread takes the four units of one draw; an image may begin inside one.
        let groups = mask.units / 4 + 2;
        let first = mask.first_sample + images.start as u64;
        // SAFETY: order and types are those of dropout.cu; y holds these images.
        unsafe {
            self.call("dropout")
                .write(y, at)
                .long(mask.seed)
                .long(threshold)
                .long(first)
                .int(mask.stream as usize)
                .int(mask.units)
                .int(mask.first_unit)
                .int(mask.of_units)
                .launch([groups.div_ceil(THREADS as usize), images.len(), 1], THREADS)
        }
    }
}
