//! Max pooling (paper §3.4).

use super::{Bytes, Cuda, Floats};
use crate::backend::Run;
use crate::error::{Error, Result};
use crate::ops::{Pool, PoolBackward, PoolForward};

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

impl Run<PoolForward<'_, Floats, Bytes>> for Cuda {
    fn run(&mut self, op: PoolForward<'_, Floats, Bytes>) -> Result<()> {
        let PoolForward { pool, images, x, argmax, y } = op;
        check(pool)?;
        let (map, out) = (pool.side * pool.side, pool.out_side * pool.out_side);
        let from = x.images(&images, pool.maps * map)?;
        let to = y.images(&images, pool.maps * out)?;
        argmax.images(&images, pool.maps * out)?;
        let n = images.len() * pool.maps * out;
        // SAFETY: order and types are those of pool.cu; x, y and argmax hold these images, and
        // windows begin inside the map.
        unsafe {
            self.call("pool_forward")
                .write(y, to)
                .write_bytes(argmax, to)
                .read(x, from)
                .int(pool.side)
                .int(pool.out_side)
                .int(pool.size)
                .int(pool.stride)
                .int(n)
                .one_thread_each(n)
        }
    }
}

impl Run<PoolBackward<'_, Floats, Bytes>> for Cuda {
    fn run(&mut self, op: PoolBackward<'_, Floats, Bytes>) -> Result<()> {
        let PoolBackward { pool, images, argmax, dy, dx } = op;
        check(pool)?;
        let (map, out) = (pool.side * pool.side, pool.out_side * pool.out_side);
        let to = dx.images(&images, pool.maps * map)?;
        let from = dy.images(&images, pool.maps * out)?;
        argmax.images(&images, pool.maps * out)?;
        let n = images.len() * pool.maps * map;
        // SAFETY: as above.
        unsafe {
            self.call("pool_backward")
                .write(dx, to)
                .read(dy, from)
                .read_bytes(argmax, from)
                .int(pool.side)
                .int(pool.out_side)
                .int(pool.size)
                .int(pool.stride)
                .int(n)
                .one_thread_each(n)
        }
    }
}
