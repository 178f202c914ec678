//! Sums of two tensors.

use super::{Cuda, Floats};
use crate::backend::Run;
use crate::error::Result;
use crate::ops::Add;

impl Run<Add<'_, Floats>> for Cuda {
    fn run(&mut self, op: Add<'_, Floats>) -> Result<()> {
        let Add { len, images, from, to } = op;
        let at = from.images(&images, len)?;
        to.images(&images, len)?;
        let n = images.len() * len;
        // SAFETY: order and types are those of add.cu; both hold n numbers from `at` on.
        unsafe { self.call("add").write(to, at).read(from, at).int(n).one_thread_each(n) }
    }
}
