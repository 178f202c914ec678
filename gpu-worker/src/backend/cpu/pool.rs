//! Max pooling (paper §3.4), map by map on the padded layout of [`super::windows`].

use multiversion::multiversion;
use rayon::prelude::*;

use super::windows::{BLOCK, Windows, unpad};
use super::{Bytes, Cpu, Floats, Grown, Scratch};
use crate::backend::Run;
use crate::error::Result;
use crate::ops::{Conv, Pool, PoolBackward, PoolForward};

pub(super) fn windows(pool: &Pool) -> Result<Windows> {
    pool.check()?;
    let Pool { side, out_side, size, stride, .. } = *pool;
    let conv = Conv { inputs: 1, side, maps: 1, out_side, kernel: size, stride, pad: 0, groups: 1 };
    Ok(Windows::new(&conv, 1))
}

impl Run<PoolForward<'_, Floats, Bytes>> for Cpu {
    fn run(&mut self, op: PoolForward<'_, Floats, Bytes>) -> Result<()> {
        let PoolForward { pool, images, x, argmax, y } = op;
        let windows = windows(pool)?;
        let (map, out) = (pool.side * pool.side, pool.out_side * pool.out_side);
        let x = x.images(&images, pool.maps * map)?;
        let argmax = argmax.images_mut(&images, pool.maps * out)?;
        let y = y.images_mut(&images, pool.maps * out)?;
        let share = self.share(images.len() * pool.maps);
        let Cpu { pool: threads, scratch, .. } = self;
        threads.install(|| {
            let outputs = y.par_chunks_mut(share * out).zip(argmax.par_chunks_mut(share * out));
            let work = outputs.zip(x.par_chunks(share * map)).zip(scratch);
            work.for_each(|(((y, argmax), x), Scratch { padded, .. })| {
                forward_maps(pool, &windows, x, padded, argmax, y);
            });
        });
        Ok(())
    }
}

/// Some maps, one after another.
pub(super) fn forward_maps(
    pool: &Pool,
    windows: &Windows,
    x: &[f32],
    padded: &mut Grown,
    argmax: &mut [u8],
    y: &mut [f32],
) {
    let (map, out) = (pool.side * pool.side, pool.out_side * pool.out_side);
    let padded = padded.take(windows.padded_len());
    let outputs = y.chunks_exact_mut(out).zip(argmax.chunks_exact_mut(out));
    for ((y, argmax), x) in outputs.zip(x.chunks_exact(map)) {
        windows.pad(x, f32::NEG_INFINITY, padded);
        forward_map(pool, windows, padded, argmax, y);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn forward_map(pool: &Pool, windows: &Windows, padded: &[f32], argmax: &mut [u8], y: &mut [f32]) {
    let out = pool.out_side;
    let rows = y.chunks_exact_mut(out).zip(argmax.chunks_exact_mut(out)).enumerate();
    for (row, (y, argmax)) in rows {
        let blocks = y.chunks_mut(BLOCK).zip(argmax.chunks_mut(BLOCK));
        for (block, (y, argmax)) in blocks.enumerate() {
            let mut best = [f32::NEG_INFINITY; BLOCK];
            let mut place = [0_u32; BLOCK];
            for (candidate, from) in windows.places(row).enumerate() {
                let from = from + block * BLOCK;
                let values = &padded[from..from + BLOCK];
                for i in 0..BLOCK {
                    // The largest; what is not a number wins, so that divergence shows.
                    let larger = values[i] > best[i] || values[i].is_nan();
                    best[i] = if larger { values[i] } else { best[i] };
                    place[i] = if larger { candidate as u32 } else { place[i] };
                }
            }
            y.copy_from_slice(&best[..y.len()]);
            for (argmax, place) in argmax.iter_mut().zip(place) {
                *argmax = place as u8; // below 16 · 16
            }
        }
    }
}

impl Run<PoolBackward<'_, Floats, Bytes>> for Cpu {
    fn run(&mut self, op: PoolBackward<'_, Floats, Bytes>) -> Result<()> {
        let PoolBackward { pool, images, argmax, dy, dx } = op;
        let windows = windows(pool)?;
        let (map, out) = (pool.side * pool.side, pool.out_side * pool.out_side);
        let argmax = argmax.images(&images, pool.maps * out)?;
        let dy = dy.images(&images, pool.maps * out)?;
        let dx = dx.images_mut(&images, pool.maps * map)?;
        let share = self.share(images.len() * pool.maps);
        let Cpu { pool: threads, scratch, .. } = self;
        threads.install(|| {
            let inputs = dy.par_chunks(share * out).zip(argmax.par_chunks(share * out));
            let work = dx.par_chunks_mut(share * map).zip(inputs).zip(scratch);
            work.for_each(|((dx, (dy, argmax)), Scratch { padded, .. })| {
                backward_maps(pool, &windows, argmax, dy, padded, dx);
            });
        });
        Ok(())
    }
}

/// Some maps, one after another.
pub(super) fn backward_maps(
    pool: &Pool,
    windows: &Windows,
    argmax: &[u8],
    dy: &[f32],
    padded: &mut Grown,
    dx: &mut [f32],
) {
    let (map, out) = (pool.side * pool.side, pool.out_side * pool.out_side);
    let padded = padded.take(windows.padded_len());
    let inputs = dy.chunks_exact(out).zip(argmax.chunks_exact(out));
    for (dx, (dy, argmax)) in dx.chunks_exact_mut(map).zip(inputs) {
        backward_map(pool, windows, argmax, dy, padded);
        unpad(windows, padded, dx);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn backward_map(pool: &Pool, windows: &Windows, argmax: &[u8], dy: &[f32], padded: &mut [f32]) {
    let out = pool.out_side;
    padded.fill(0.0);
    for (row, (dy, argmax)) in dy.chunks_exact(out).zip(argmax.chunks_exact(out)).enumerate() {
        for (block, (dy, argmax)) in dy.chunks(BLOCK).zip(argmax.chunks(BLOCK)).enumerate() {
            let (mut gradient, mut place) = ([0.0_f32; BLOCK], [0_u32; BLOCK]);
            gradient[..dy.len()].copy_from_slice(dy);
            for (place, argmax) in place.iter_mut().zip(argmax) {
                *place = u32::from(*argmax);
            }
            for (candidate, to) in windows.places(row).enumerate() {
                let to = to + block * BLOCK;
                let sums = &mut padded[to..to + BLOCK];
                for i in 0..BLOCK {
                    sums[i] += if place[i] == candidate as u32 { gradient[i] } else { 0.0 };
                }
            }
        }
    }
}
