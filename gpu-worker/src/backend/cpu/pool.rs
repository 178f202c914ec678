//! Max pooling (paper §3.4), map by map on the padded layout of [`super::windows`].

use multiversion::multiversion;
use rayon::prelude::*;

use super::windows::{BLOCK, Windows, unpad};
use super::{Bytes, Cpu, Floats, Scratch};
use crate::backend::{Conv, Images, Pool};
use crate::error::{Error, Result};

/// Window places fit a byte up to this side.
const LARGEST: usize = 16;

fn windows(pool: &Pool) -> Result<Windows> {
    let Pool { side, out_side, size, stride, .. } = *pool;
    if size == 0 || size > LARGEST {
        return Err(Error::Shape { tensor: "pooling window", got: size, want: LARGEST });
    }
    if out_side == 0 || (out_side - 1) * stride >= side {
        return Err(Error::Shape { tensor: "pooling windows", got: out_side, want: side });
    }
    let conv = Conv { inputs: 1, side, maps: 1, out_side, kernel: size, stride, pad: 0, groups: 1 };
    Ok(Windows::new(&conv, 1))
}

pub(super) fn forward(
    cpu: &mut Cpu,
    pool: &Pool,
    images: Images,
    x: &Floats,
    taken: &mut Bytes,
    y: &mut Floats,
) -> Result<()> {
    let windows = windows(pool)?;
    let (map, out) = (pool.side * pool.side, pool.out_side * pool.out_side);
    let x = x.images(&images, pool.maps * map)?;
    let taken = taken.images_mut(&images, pool.maps * out)?;
    let y = y.images_mut(&images, pool.maps * out)?;
    let share = cpu.share(images.len() * pool.maps);
    let Cpu { pool: threads, scratch, .. } = cpu;
    threads.install(|| {
        let outputs = y.par_chunks_mut(share * out).zip(taken.par_chunks_mut(share * out));
        let work = outputs.zip(x.par_chunks(share * map)).zip(scratch);
        work.for_each(|(((y, taken), x), Scratch { padded, .. })| {
            let padded = padded.take(windows.padded_len());
            let outputs = y.chunks_exact_mut(out).zip(taken.chunks_exact_mut(out));
            for ((y, taken), x) in outputs.zip(x.chunks_exact(map)) {
                windows.pad(x, f32::NEG_INFINITY, padded);
                forward_map(pool, &windows, padded, taken, y);
            }
        });
    });
    Ok(())
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn forward_map(pool: &Pool, windows: &Windows, padded: &[f32], taken: &mut [u8], y: &mut [f32]) {
    let out = pool.out_side;
    let rows = y.chunks_exact_mut(out).zip(taken.chunks_exact_mut(out)).enumerate();
    for (row, (y, taken)) in rows {
        let blocks = y.chunks_mut(BLOCK).zip(taken.chunks_mut(BLOCK));
        for (block, (y, taken)) in blocks.enumerate() {
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
            for (taken, place) in taken.iter_mut().zip(place) {
                *taken = place as u8; // below 16 · 16
            }
        }
    }
}

pub(super) fn backward(
    cpu: &mut Cpu,
    pool: &Pool,
    images: Images,
    taken: &Bytes,
    dy: &Floats,
    dx: &mut Floats,
) -> Result<()> {
    let windows = windows(pool)?;
    let (map, out) = (pool.side * pool.side, pool.out_side * pool.out_side);
    let taken = taken.images(&images, pool.maps * out)?;
    let dy = dy.images(&images, pool.maps * out)?;
    let dx = dx.images_mut(&images, pool.maps * map)?;
    let share = cpu.share(images.len() * pool.maps);
    let Cpu { pool: threads, scratch, .. } = cpu;
    threads.install(|| {
        let inputs = dy.par_chunks(share * out).zip(taken.par_chunks(share * out));
        let work = dx.par_chunks_mut(share * map).zip(inputs).zip(scratch);
        work.for_each(|((dx, (dy, taken)), Scratch { padded, .. })| {
            let padded = padded.take(windows.padded_len());
            let inputs = dy.chunks_exact(out).zip(taken.chunks_exact(out));
            for (dx, (dy, taken)) in dx.chunks_exact_mut(map).zip(inputs) {
                backward_map(pool, &windows, taken, dy, padded);
                unpad(&windows, padded, dx);
            }
        });
    });
    Ok(())
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn backward_map(pool: &Pool, windows: &Windows, taken: &[u8], dy: &[f32], padded: &mut [f32]) {
    let out = pool.out_side;
    padded.fill(0.0);
    for (row, (dy, taken)) in dy.chunks_exact(out).zip(taken.chunks_exact(out)).enumerate() {
        for (block, (dy, taken)) in dy.chunks(BLOCK).zip(taken.chunks(BLOCK)).enumerate() {
            let (mut gradient, mut place) = ([0.0_f32; BLOCK], [0_u32; BLOCK]);
            gradient[..dy.len()].copy_from_slice(dy);
            for (place, taken) in place.iter_mut().zip(taken) {
                *place = u32::from(*taken);
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
