//! One step of momentum and weight decay (paper §5).

use super::{Cuda, Floats};
use crate::backend::Sgd;
use crate::error::Result;

pub(super) fn sgd(dev: &Cuda, sgd: &Sgd, w: &mut Floats, v: &mut Floats, g: &Floats) -> Result<()> {
    let n = w.len();
    v.exactly(n)?;
    g.exactly(n)?;
    // SAFETY: order and types are those of sgd.cu; w, v and g hold n numbers, and the kernel stays
    // inside [0, n).
    unsafe {
        dev.call("sgd")
            .write(w, 0)
            .write(v, 0)
            .read(g, 0)
            .float(sgd.rate)
            .float(sgd.momentum)
            .float(sgd.decay)
            .int(n)
            .one_thread_each(n)
    }
}
