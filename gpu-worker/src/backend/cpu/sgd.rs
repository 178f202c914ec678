//! One step of momentum and weight decay (paper §5).

use multiversion::multiversion;
use rayon::prelude::*;

use super::{Cpu, Floats};
use crate::backend::Sgd;
use crate::error::Result;

pub(super) fn sgd(cpu: &Cpu, sgd: &Sgd, w: &mut Floats, v: &mut Floats, g: &Floats) -> Result<()> {
    let n = w.len();
    let v = v.exactly_mut(n)?;
    let g = g.exactly(n)?;
    let w = w.exactly_mut(n)?;
    let share = cpu.share(n);
    cpu.pool.install(|| {
        let work = w.par_chunks_mut(share).zip(v.par_chunks_mut(share)).zip(g.par_chunks(share));
        work.for_each(|((w, v), g)| step(sgd, w, v, g));
    });
    Ok(())
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn step(sgd: &Sgd, w: &mut [f32], v: &mut [f32], g: &[f32]) {
    let Sgd { rate, momentum, decay } = *sgd;
    for ((w, v), g) in w.iter_mut().zip(v).zip(g) {
        let change = momentum * *v - decay * rate * *w - rate * g; // decay sees the old w
        *v = change;
        *w += change;
    }
}
