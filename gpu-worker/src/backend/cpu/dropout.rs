//! Dropout (paper §4.2): silence in training, a factor at test.

use model::random::{Purpose, Random};
use multiversion::multiversion;

use super::{Cpu, Floats};
use crate::backend::{Dropout, Images};
use crate::error::Result;

pub(super) fn dropout(cpu: &Cpu, dropout: &Dropout, images: Images, y: &mut Floats) -> Result<()> {
    let y = y.images_mut(&images, dropout.units)?;
    cpu.each(images.len(), y, |y, first| {
        for (i, y) in y.chunks_exact_mut(dropout.units.max(1)).enumerate() {
            silence(dropout, dropout.first_sample + (images.start + first + i) as u64, y);
        }
    });
    Ok(())
}

/// Silences the units of one sample.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn silence(dropout: &Dropout, sample: u64, y: &mut [f32]) {
    let random = Random::new(dropout.seed, Purpose::Dropout);
    let threshold = f64::from(dropout.rate) * 4_294_967_296.0;
    let first = sample * dropout.of_units as u64 + dropout.first_unit as u64;
    // One call gives four words; the first group may be cut off by the unit we start at.
    let head = ((4 - first % 4) % 4).min(y.len() as u64) as usize;
    let (head, rest) = y.split_at_mut(head);
    let groups = (first + head.len() as u64) / 4;
    let mask = |index: u64, skip: usize, y: &mut [f32]| {
        let words = random.words(dropout.stream, index);
        for (y, word) in y.iter_mut().zip(&words[skip..]) {
            *y = if f64::from(*word) < threshold { 0.0 } else { *y };
        }
    };
    if !head.is_empty() {
        mask(first / 4, (first % 4) as usize, head);
    }
    for (index, y) in (groups..).zip(rest.chunks_mut(4)) {
        mask(index, 0, y);
    }
}

pub(super) fn scale(
    cpu: &Cpu,
    factor: f32,
    len: usize,
    images: Images,
    y: &mut Floats,
) -> Result<()> {
    let y = y.images_mut(&images, len)?;
    cpu.each(images.len(), y, |y, _| multiply(factor, y));
    Ok(())
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(super) fn multiply(factor: f32, y: &mut [f32]) {
    for y in y {
        *y *= factor;
    }
}
