//! One step of momentum and weight decay (paper §5).

use super::{Cuda, Floats};
use crate::backend::Run;
use crate::error::Result;
use crate::ops::Sgd;

impl Run<Sgd<'_, Floats>> for Cuda {
    fn run(&mut self, op: Sgd<'_, Floats>) -> Result<()> {
        let Sgd { rates, w, v, g } = op;
        let n = w.len();
        v.exactly(n)?;
        g.exactly(n)?;
        // SAFETY: order and types are those of sgd.cu; w, v and g hold n numbers, and the kernel
        // stays inside [0, n).
        unsafe {
            self.call("sgd")
                .write(w, 0)
                .write(v, 0)
                .read(g, 0)
                .float(rates.rate)
                .float(rates.momentum)
                .float(rates.decay)
                .int(n)
                .one_thread_each(n)
        }
    }
}
