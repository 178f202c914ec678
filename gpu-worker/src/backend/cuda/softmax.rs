//! Softmax and the multinomial logistic loss, over both halves' logits.

use super::{Cuda, Floats};
use crate::backend::Run;
use crate::error::Result;
use crate::ops::Softmax;

/// Threads of a block; a block takes one image. softmax.cu is written for this number.
const THREADS: u32 = 128;

impl Run<Softmax<'_, Floats>> for Cuda {
    fn run(&mut self, op: Softmax<'_, Floats>) -> Result<()> {
        let Softmax { classes, images, own, peer, labels, probabilities, loss, dlogits } = op;
        classes.check(peer.is_some())?;
        let n_own = classes.own.len();
        let n_peer = classes.classes - n_own;
        let own_at = own.images(&images, n_own)?;
        let peer_at = peer.map_or(Ok(0), |peer| peer.images(&images, n_peer))?;
        let at = labels.images(&images, 1)?;
        let all_at = probabilities.images(&images, classes.classes)?;
        loss.images(&images, 1)?;
        dlogits.images(&images, n_own)?;
        // SAFETY: order and types are those of softmax.cu; all buffers hold these images, and own
        // and peer together have `classes` logits.
        unsafe {
            self.call("softmax")
                .write(probabilities, all_at)
                .write(loss, at)
                .write(dlogits, own_at)
                .read(own, own_at)
                .optional_read(peer, peer_at)
                .read(labels, at)
                .float(classes.batch as f32)
                .int(classes.classes)
                .int(classes.own.start)
                .int(n_own)
                .launch([images.len(), 1, 1], THREADS)
        }
    }
}
