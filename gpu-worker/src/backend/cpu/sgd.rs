//! One step of momentum and weight decay (paper §5).

use multiversion::multiversion;
use rayon::prelude::*;

use super::{Cpu, Floats};
use crate::backend::Run;
use crate::error::Result;
use crate::ops::{Sgd, SgdRates};

impl Run<Sgd<'_, Floats>> for Cpu {
    fn run(&mut self, op: Sgd<'_, Floats>) -> Result<()> {
        let Sgd { rates, w, v, g } = op;
        let n = w.len();
        let v = v.exactly_mut(n)?;
        let g = g.exactly(n)?;
        let w = w.exactly_mut(n)?;
        let share = self.share(n);
        self.pool.install(|| {
            let work =
                w.par_chunks_mut(share).zip(v.par_chunks_mut(share)).zip(g.par_chunks(share));
            work.for_each(|((w, v), g)| step(rates, w, v, g));
        });
        Ok(())
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn step(rates: &SgdRates, w: &mut [f32], v: &mut [f32], g: &[f32]) {
    let SgdRates { rate, momentum, decay } = *rates;
    for ((w, v), g) in w.iter_mut().zip(v).zip(g) {
        let change = momentum * *v - decay * rate * *w - rate * g; // decay sees the old w
        *v = change;
        *w += change;
    }
}
