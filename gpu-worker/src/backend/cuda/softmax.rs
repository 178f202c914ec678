//! Softmax and the multinomial logistic loss, over both halves' logits.

use super::{Cuda, Floats};
use crate::backend::{Images, Softmax};
use crate::error::{Error, Result};

/// Threads of a block; a block takes one image. softmax.cu is written for this number.
const THREADS: u32 = 128;

#[expect(clippy::too_many_arguments, reason = "the trait's list")]
pub(super) fn softmax(
    dev: &Cuda,
    softmax: &Softmax,
    images: Images,
    own: &Floats,
    peer: Option<&Floats>,
    labels: &Floats,
    probabilities: &mut Floats,
    loss: &mut Floats,
    dlogits: &mut Floats,
) -> Result<()> {
    let (classes, n_own) = (softmax.classes, softmax.own.len());
    let n_peer = classes.saturating_sub(n_own);
    if n_own == 0 || softmax.own.end > classes || (peer.is_none() && n_peer > 0) {
        return Err(Error::Shape { tensor: "logits", got: softmax.own.end, want: classes });
    }
    let own_at = own.images(&images, n_own)?;
    let peer_at = peer.map_or(Ok(0), |peer| peer.images(&images, n_peer))?;
    let at = labels.images(&images, 1)?;
    let all_at = probabilities.images(&images, classes)?;
    loss.images(&images, 1)?;
    dlogits.images(&images, n_own)?;
    // SAFETY: order and types are those of softmax.cu; all buffers hold these images, and own and
    // peer together have `classes` logits.
    unsafe {
        dev.call("softmax")
            .write(probabilities, all_at)
            .write(loss, at)
            .write(dlogits, own_at)
            .read(own, own_at)
            .optional_read(peer, peer_at)
            .read(labels, at)
            .float(softmax.batch as f32)
            .int(classes)
            .int(softmax.own.start)
            .int(n_own)
            .launch([images.len(), 1, 1], THREADS)
    }
}
