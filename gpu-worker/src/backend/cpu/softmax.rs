//! Softmax and the multinomial logistic loss, over both halves' logits.

use rayon::prelude::*;

use super::{Cpu, Floats};
use crate::backend::Run;
use crate::error::Result;
use crate::ops::{Classes, Softmax};

impl Run<Softmax<'_, Floats>> for Cpu {
    fn run(&mut self, op: Softmax<'_, Floats>) -> Result<()> {
        let Softmax { classes, images, own, peer, labels, probabilities, loss, dlogits } = op;
        classes.check(peer.is_some())?;
        let n_own = classes.own.len();
        let n_peer = classes.classes - n_own;
        let own = own.images(&images, n_own)?;
        let peer = peer.map(|peer| peer.images(&images, n_peer)).transpose()?.unwrap_or_default();
        let labels = labels.images(&images, 1)?;
        let probabilities = probabilities.images_mut(&images, classes.classes)?;
        let loss = loss.images_mut(&images, 1)?;
        let dlogits = dlogits.images_mut(&images, n_own)?;
        self.pool.install(|| {
            let outputs = probabilities.par_chunks_mut(classes.classes).zip(loss);
            let work = outputs.zip(dlogits.par_chunks_mut(n_own)).zip(own.par_chunks(n_own));
            work.zip(labels).enumerate().with_min_len(8).for_each(|(i, work)| {
                let ((((p, loss), dlogits), own), label) = work;
                let peer = &peer[i * n_peer..(i + 1) * n_peer];
                // Below zero, `as` would make it class 0.
                let label = if *label < 0.0 { usize::MAX } else { *label as usize };
                *loss = one(classes, own, peer, label, p, dlogits);
            });
        });
        Ok(())
    }
}

/// One image; returns its loss, which is not a number if there is no such label.
fn one(
    classes: &Classes,
    own: &[f32],
    peer: &[f32],
    label: usize,
    p: &mut [f32],
    dlogits: &mut [f32],
) -> f32 {
    // The peer's classes lie before or after our own; with both lists in order, so is p.
    let (before, after) = peer.split_at(classes.own.start.min(peer.len()));
    p[..before.len()].copy_from_slice(before);
    p[classes.own.clone()].copy_from_slice(own);
    p[classes.own.end..].copy_from_slice(after);

    let largest = p.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let label_logit = p.get(label).map_or(f32::NAN, |logit| logit - largest);
    let mut sum = 0.0_f64;
    for p in p.iter_mut() {
        *p = libm::expf(*p - largest);
        sum += f64::from(*p);
    }
    for p in p.iter_mut() {
        *p = (f64::from(*p) / sum) as f32;
    }

    let batch = classes.batch as f32;
    for ((class, dlogit), p) in classes.own.clone().zip(dlogits).zip(&p[classes.own.start..]) {
        *dlogit = (p - if class == label { 1.0 } else { 0.0 }) / batch;
    }
    (libm::log(sum) - f64::from(label_logit)) as f32
}
