//! Numbers to and from the bytes that travel: little-endian f32, or f16 times a power of two.

use std::ops::Range;

use bytes::Bytes as Piece;
use half::f16;
use half::slice::HalfFloatSliceExt;
use model::recipe::Encoding;
use multiversion::multiversion;

use super::scale::multiply;
use super::{Bytes, Floats};
use crate::backend::{EXPONENTS, Encoded};
use crate::error::{Error, Result};

/// Numbers converted at once.
const BLOCK: usize = 256;

pub(super) fn upload(
    from: &[Piece],
    encoding: Encoding,
    exponent: i32,
    to: &mut Floats,
    at: usize,
) -> Result<()> {
    let width = width(encoding);
    let len: usize = from.iter().map(Piece::len).sum();
    if !len.is_multiple_of(width) {
        let want = len.next_multiple_of(width);
        return Err(Error::Shape { tensor: "uploaded bytes", got: len, want });
    }
    if !EXPONENTS.contains(&exponent) {
        let got = exponent.unsigned_abs() as usize;
        return Err(Error::Shape { tensor: "exponent", got, want: *EXPONENTS.end() as usize });
    }
    let mut to = to.range_mut(at..at.saturating_add(len / width))?;
    let factor = power_of_two(-exponent);
    let mut cut = Vec::with_capacity(width); // a number that two pieces share
    for piece in from {
        let mut piece = &piece[..];
        if !cut.is_empty() {
            let (head, rest) = piece.split_at(piece.len().min(width - cut.len()));
            cut.extend_from_slice(head);
            piece = rest;
            if cut.len() < width {
                continue;
            }
            let (first, rest) = to.split_at_mut(1);
            decode(&cut, encoding, factor, first);
            to = rest;
            cut.clear();
        }
        let (whole, tail) = piece.split_at(piece.len() / width * width);
        let (these, rest) = to.split_at_mut(whole.len() / width);
        decode(whole, encoding, factor, these);
        to = rest;
        cut.extend_from_slice(tail);
    }
    Ok(())
}

fn width(encoding: Encoding) -> usize {
    match encoding {
        Encoding::F32 => size_of::<f32>(),
        Encoding::F16 => size_of::<f16>(),
    }
}

fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

fn decode(from: &[u8], encoding: Encoding, factor: f32, to: &mut [f32]) {
    match encoding {
        Encoding::F32 => {
            for (to, from) in to.iter_mut().zip(from.as_chunks().0) {
                *to = f32::from_le_bytes(*from);
            }
        }
        Encoding::F16 => {
            let mut halves = [f16::ZERO; BLOCK];
            for (to, from) in to.chunks_mut(BLOCK).zip(from.chunks(BLOCK * size_of::<f16>())) {
                let halves = &mut halves[..to.len()];
                for (half, from) in halves.iter_mut().zip(from.as_chunks().0) {
                    *half = f16::from_le_bytes(*from);
                }
                halves.convert_to_f32_slice(to);
                multiply(factor, to);
            }
        }
    }
}

pub(super) fn upload_bytes(from: &[Piece], to: &mut Bytes) -> Result<()> {
    let len = from.iter().map(Piece::len).sum();
    let mut to = to.range_mut(0..len)?;
    for piece in from {
        let (these, rest) = to.split_at_mut(piece.len());
        these.copy_from_slice(piece);
        to = rest;
    }
    Ok(())
}

pub(super) fn download(from: &Floats, range: Range<usize>, encoding: Encoding) -> Result<Encoded> {
    let from = from.range(range)?;
    let mut bytes = vec![0; from.len() * width(encoding)];
    let exponent = match encoding {
        Encoding::F32 => {
            for (to, from) in bytes.as_chunks_mut().0.iter_mut().zip(from) {
                *to = from.to_le_bytes();
            }
            0
        }
        Encoding::F16 => {
            let exponent = exponent(largest(from));
            halve(from, power_of_two(exponent), &mut bytes);
            exponent
        }
    };
    Ok(Encoded { bytes: bytes.into(), encoding, exponent })
}

/// The largest finite magnitude.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn largest(values: &[f32]) -> f32 {
    let infinite = f32::INFINITY.to_bits();
    let mut most = [0_u32; 16]; // magnitudes order like their bits
    let (blocks, rest) = values.as_chunks::<16>();
    let see = |most: &mut u32, value: &f32| {
        let bits = value.abs().to_bits();
        *most = (*most).max(if bits < infinite { bits } else { 0 });
    };
    for block in blocks {
        most.iter_mut().zip(block).for_each(|(most, value)| see(most, value));
    }
    most.iter_mut().zip(rest).for_each(|(most, value)| see(most, value));
    f32::from_bits(most.into_iter().max().unwrap_or_default())
}

/// The power of two that brings `largest` just below f16's largest number; 0 for zero.
fn exponent(largest: f32) -> i32 {
    if largest == 0.0 {
        return 0;
    }
    let (fraction, exponent) = libm::frexpf(largest); // fraction in [½, 1)
    let exponent = 16 - exponent;
    // f16 ends at 65504, a little below 2¹⁶.
    let over = fraction > 65504.0 / 65536.0;
    (exponent - i32::from(over)).clamp(*EXPONENTS.start(), *EXPONENTS.end())
}

fn halve(from: &[f32], factor: f32, to: &mut [u8]) {
    let (mut scaled, mut halves) = ([0.0; BLOCK], [f16::ZERO; BLOCK]);
    for (to, from) in to.chunks_mut(BLOCK * size_of::<f16>()).zip(from.chunks(BLOCK)) {
        let (scaled, halves) = (&mut scaled[..from.len()], &mut halves[..from.len()]);
        scaled.copy_from_slice(from);
        multiply(factor, scaled);
        halves.convert_from_f32_slice(scaled);
        for (to, half) in to.as_chunks_mut().0.iter_mut().zip(halves) {
            *to = half.to_le_bytes();
        }
    }
}
