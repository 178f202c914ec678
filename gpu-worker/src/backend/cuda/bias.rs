//! Gradients of biases.

use super::gemm::adds;
use super::launch::THREADS;
use super::{Cuda, Floats};
use crate::backend::Run;
use crate::error::Result;
use crate::ops::BiasBackward;

impl Run<BiasBackward<'_, Floats>> for Cuda {
    fn run(&mut self, op: BiasBackward<'_, Floats>) -> Result<()> {
        let BiasBackward { maps, pixels, images, dy, accumulate, db } = op;
        let at = dy.images(&images, maps * pixels)?;
        db.exactly(maps)?;
        let add = adds(accumulate);
        // SAFETY (both launches): order and types are those of bias.cu; dy holds these images, db
        // `maps` numbers.
        if pixels == 1 {
            // SAFETY: see above.
            unsafe {
                let call = self.call("bias_backward_units").write(db, 0).read(dy, at);
                call.int(add).int(images.len()).int(maps).one_thread_each(maps)
            }
        } else {
            // SAFETY: see above.
            unsafe {
                self.call("bias_backward_maps")
                    .write(db, 0)
                    .read(dy, at)
                    .int(add)
                    .int(images.len())
                    .int(maps)
                    .int(pixels)
                    .launch([maps, 1, 1], THREADS)
            }
        }
    }
}
