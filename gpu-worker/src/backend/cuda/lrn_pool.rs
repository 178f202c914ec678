//! Response normalization and max pooling as one operation: one kernel after the other.

use super::{Bytes, Cuda, Floats};
use crate::backend::Run;
use crate::error::Result;
use crate::ops::{
    ActivationBackward, LrnBackward, LrnForward, LrnPoolBackward, LrnPoolForward, PoolBackward,
    PoolForward,
};

impl Run<LrnPoolForward<'_, Floats, Bytes>> for Cuda {
    fn run(&mut self, op: LrnPoolForward<'_, Floats, Bytes>) -> Result<()> {
        let LrnPoolForward { lrn, pool, images, x, between, argmax, y } = op;
        lrn.check_pooled_by(pool)?;
        let (scale, value) = (&mut between.scale, &mut between.value);
        self.run(LrnForward { lrn, images: images.clone(), x, scale, y: value })?;
        self.run(PoolForward { pool, images, x: &between.value, argmax, y })
    }
}

impl Run<LrnPoolBackward<'_, Floats, Bytes>> for Cuda {
    fn run(&mut self, op: LrnPoolBackward<'_, Floats, Bytes>) -> Result<()> {
        let LrnPoolBackward { lrn, pool, activation, images, x, between, argmax, dy, dx } = op;
        lrn.check_pooled_by(pool)?;
        let gradient = &mut between.gradient;
        self.run(PoolBackward { pool, images: images.clone(), argmax, dy, dx: gradient })?;
        let (scale, y, dy) = (&between.scale, &between.value, &between.gradient);
        self.run(LrnBackward { lrn, images: images.clone(), x, scale, y, dy, dx })?;
        let Some(activation) = activation else { return Ok(()) };
        let len = lrn.maps * lrn.pixels;
        self.run(ActivationBackward { activation, len, images, y: x, dy: dx })
    }
}
