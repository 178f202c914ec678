//! Response normalization and max pooling as one operation, image by image: what is between them
//! stays in the cache and has no other memory.

use rayon::prelude::*;

use super::lrn::{backward_image, backward_memory, forward_image};
use super::pool::{backward_maps, forward_maps, windows};
use super::{Bytes, Cpu, Floats, Scratch};
use crate::backend::Run;
use crate::error::Result;
use crate::ops::{LrnPoolBackward, LrnPoolForward};

impl Run<LrnPoolForward<'_, Floats, Bytes>> for Cpu {
    fn run(&mut self, op: LrnPoolForward<'_, Floats, Bytes>) -> Result<()> {
        let LrnPoolForward { lrn, pool, images, x, between: _, argmax, y } = op;
        lrn.check_pooled_by(pool)?;
        let windows = windows(pool)?;
        let image = lrn.maps * lrn.pixels;
        let out = pool.maps * pool.out_side * pool.out_side;
        let x = x.images(&images, image)?;
        let argmax = argmax.images_mut(&images, out)?;
        let y = y.images_mut(&images, out)?;
        let share = self.share(images.len());
        let Cpu { pool: threads, scratch, .. } = self;
        threads.install(|| {
            let outputs = y.par_chunks_mut(share * out).zip(argmax.par_chunks_mut(share * out));
            let work = outputs.zip(x.par_chunks(share * image)).zip(scratch);
            work.for_each(|(((y, argmax), x), Scratch { padded, maps, .. })| {
                let normalized = maps.take(image);
                let outputs = y.chunks_exact_mut(out).zip(argmax.chunks_exact_mut(out));
                for ((y, argmax), x) in outputs.zip(x.chunks_exact(image)) {
                    forward_image(lrn, x, normalized);
                    forward_maps(pool, &windows, normalized, padded, argmax, y);
                }
            });
        });
        Ok(())
    }
}

impl Run<LrnPoolBackward<'_, Floats, Bytes>> for Cpu {
    fn run(&mut self, op: LrnPoolBackward<'_, Floats, Bytes>) -> Result<()> {
        let LrnPoolBackward { lrn, pool, activation, images, x, between: _, argmax, dy, dx } = op;
        lrn.check_pooled_by(pool)?;
        let windows = windows(pool)?;
        let image = lrn.maps * lrn.pixels;
        let out = pool.maps * pool.out_side * pool.out_side;
        let x = x.images(&images, image)?;
        let argmax = argmax.images(&images, out)?;
        let dy = dy.images(&images, out)?;
        let dx = dx.images_mut(&images, image)?;
        let share = self.share(images.len());
        let Cpu { pool: threads, scratch, .. } = self;
        threads.install(|| {
            let inputs = dy.par_chunks(share * out).zip(argmax.par_chunks(share * out));
            let work = dx.par_chunks_mut(share * image).zip(x.par_chunks(share * image));
            work.zip(inputs).zip(scratch).for_each(|(((dx, x), (dy, argmax)), scratch)| {
                let Scratch { padded, maps, columns, .. } = scratch;
                let (of_normalized, memory) =
                    (maps.take(image), columns.take(backward_memory(lrn)));
                let inputs = dy.chunks_exact(out).zip(argmax.chunks_exact(out));
                let images = dx.chunks_exact_mut(image).zip(x.chunks_exact(image));
                for ((dx, x), (dy, argmax)) in images.zip(inputs) {
                    backward_maps(pool, &windows, argmax, dy, padded, of_normalized);
                    backward_image(lrn, activation, x, of_normalized, memory, dx);
                }
            });
        });
        Ok(())
    }
}
