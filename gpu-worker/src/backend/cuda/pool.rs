//! Max pooling (paper §3.4).

use super::{Bytes, Cuda, Floats};
use crate::backend::{Images, Pool};
use crate::error::{Error, Result};

/// Window places fit a byte up to this side.
const LARGEST: usize = 16;

fn check(pool: &Pool) -> Result<()> {
    let Pool { side, out_side, size, stride, .. } = *pool;
    if size == 0 || size > LARGEST {
        return Err(Error::Shape { tensor: "pooling window", got: size, want: LARGEST });
    }
    if out_side == 0 || stride == 0 || (out_side - 1) * stride >= side {
        return Err(Error::Shape { tensor: "pooling windows", got: out_side, want: side });
    }
    Ok(())
}

pub(super) fn forward(
    dev: &Cuda,
    pool: &Pool,
    images: Images,
    x: &Floats,
    taken: &mut Bytes,
    y: &mut Floats,
) -> Result<()> {
    check(pool)?;
    let (map, out) = (pool.side * pool.side, pool.out_side * pool.out_side);
    let from = x.images(&images, pool.maps * map)?;
    let to = y.images(&images, pool.maps * out)?;
    taken.images(&images, pool.maps * out)?;
    let n = images.len() * pool.maps * out;
    // SAFETY: order and types are those of pool.cu; x, y and taken hold these images, and windows
    // begin inside the map.
    unsafe {
        dev.call("pool_forward")
            .write(y, to)
            .write_bytes(taken, to)
            .read(x, from)
            .int(pool.side)
            .int(pool.out_side)
            .int(pool.size)
            .int(pool.stride)
            .int(n)
            .one_thread_each(n)
    }
}

pub(super) fn backward(
    dev: &Cuda,
    pool: &Pool,
    images: Images,
    taken: &Bytes,
    dy: &Floats,
    dx: &mut Floats,
) -> Result<()> {
    check(pool)?;
    let (map, out) = (pool.side * pool.side, pool.out_side * pool.out_side);
    let to = dx.images(&images, pool.maps * map)?;
    let from = dy.images(&images, pool.maps * out)?;
    taken.images(&images, pool.maps * out)?;
    let n = images.len() * pool.maps * map;
    // SAFETY: as above.
    unsafe {
        dev.call("pool_backward")
            .write(dx, to)
            .read(dy, from)
            .read_bytes(taken, from)
            .int(pool.side)
            .int(pool.out_side)
            .int(pool.size)
            .int(pool.stride)
            .int(n)
            .one_thread_each(n)
    }
}
