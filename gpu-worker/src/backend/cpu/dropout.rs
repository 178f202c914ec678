//! Dropout (paper §4.2): silence in training.

use model::random::{Purpose, Random};
use multiversion::multiversion;

use super::{Cpu, Floats};
use crate::backend::Run;
use crate::error::Result;
use crate::ops::{Dropout, DropoutMask};

impl Run<Dropout<'_, Floats>> for Cpu {
    fn run(&mut self, op: Dropout<'_, Floats>) -> Result<()> {
        let Dropout { mask, images, y } = op;
        let y = y.images_mut(&images, mask.units)?;
        self.each(images.len(), y, |y, first| {
            for (i, y) in y.chunks_exact_mut(mask.units.max(1)).enumerate() {
                silence(mask, mask.first_sample + (images.start + first + i) as u64, y);
            }
        });
        Ok(())
    }
}

/// Silences the units of one sample.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn silence(mask: &DropoutMask, sample: u64, y: &mut [f32]) {
    let random = Random::new(mask.seed, Purpose::Dropout);
    let threshold = f64::from(mask.rate) * 4_294_967_296.0;
    let first = sample * mask.of_units as u64 + mask.first_unit as u64;
    // One call gives four words; the first group may be cut off by the unit we start at.
    let head = ((4 - first % 4) % 4).min(y.len() as u64) as usize;
    let (head, rest) = y.split_at_mut(head);
    let groups = (first + head.len() as u64) / 4;
    let mask = |index: u64, skip: usize, y: &mut [f32]| {
        let words = random.words(mask.stream, index);
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
