//! What surrounds the products: gradients of biases, sums of two tensors.

use super::launch::THREADS;
use super::{Cuda, Floats};
use crate::backend::{Images, Sum};
use crate::error::Result;

pub(super) fn bias_backward(
    dev: &Cuda,
    maps: usize,
    pixels: usize,
    images: Images,
    dy: &Floats,
    sum: Sum,
    db: &mut Floats,
) -> Result<()> {
    let at = dy.images(&images, maps * pixels)?;
    db.exactly(maps)?;
    let add = usize::from(sum == Sum::Add);
    // SAFETY (both launches): order and types are those of sum.cu; dy holds these images, db `maps`
    // numbers.
    if pixels == 1 {
        // SAFETY: see above.
        unsafe {
            let call = dev.call("bias_backward_units").write(db, 0).read(dy, at);
            call.int(add).int(images.len()).int(maps).one_thread_each(maps)
        }
    } else {
        // SAFETY: see above.
        unsafe {
            dev.call("bias_backward_maps")
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

pub(super) fn add(
    dev: &Cuda,
    len: usize,
    images: Images,
    from: &Floats,
    to: &mut Floats,
) -> Result<()> {
    let at = from.images(&images, len)?;
    to.images(&images, len)?;
    let n = images.len() * len;
    // SAFETY: order and types are those of sum.cu; both hold n numbers from `at` on.
    unsafe { dev.call("add").write(to, at).read(from, at).int(n).one_thread_each(n) }
}
