//! Max pooling (paper §3.4).

use super::{Bytes, Cuda, Floats};
use crate::backend::Run;
use crate::error::Result;
use crate::ops::{PoolBackward, PoolForward};

impl Run<PoolForward<'_, Floats, Bytes>> for Cuda {
    fn run(&mut self, op: PoolForward<'_, Floats, Bytes>) -> Result<()> {
        let PoolForward { pool, images, x, argmax, y } = op;
        pool.check()?;
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
        pool.check()?;
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
