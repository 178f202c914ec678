//! Multiplication by a factor: dropout at test time (paper §4.2).

use super::{Cuda, Floats};
use crate::backend::Run;
use crate::error::Result;
use crate::ops::Scale;

impl Run<Scale<'_, Floats>> for Cuda {
    fn run(&mut self, op: Scale<'_, Floats>) -> Result<()> {
        let Scale { factor, len, images, y } = op;
        let at = y.images(&images, len)?;
        let n = images.len() * len;
        // SAFETY: order and types are those of scale.cu; y holds n numbers from `at` on.
        unsafe { self.call("scale").write(y, at).float(factor).int(n).one_thread_each(n) }
    }
}
