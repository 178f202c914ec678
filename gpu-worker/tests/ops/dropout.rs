//! Dropout's masks.

use gpu_worker::backend::Backend;
use gpu_worker::ops::{Dropout, DropoutMask};
use model::random::{Purpose, Random};

use crate::harness::{assert_same_in_micro_batches, read, upload};

const MASK: DropoutMask = DropoutMask {
    rate: 0.5,
    seed: 7,
    stream: 6,
    first_sample: 1280,
    units: 101,
    first_unit: 103, // not at the start of a group of four
    of_units: 2048,
};

/// The function that `ops::Dropout` documents, word for word.
fn silent(d: &DropoutMask, image: usize, unit: usize) -> bool {
    let sample = d.first_sample + image as u64;
    let i = sample * d.of_units as u64 + (d.first_unit + unit) as u64;
    let words = Random::new(d.seed, Purpose::Dropout).words(d.stream, i / 4);
    f64::from(words[(i % 4) as usize]) < f64::from(d.rate) * 2.0_f64.powi(32)
}

fn masked<B: Backend>(b: &mut B, d: &DropoutMask, n: usize) -> Vec<f32> {
    let mut y = upload(b, &vec![3.0; n * d.units]);
    b.run(Dropout { mask: d, images: 0..n, y: &mut y }).unwrap();
    read(b, &y, 0..n * d.units)
}

pub(crate) fn silences_what_the_documented_function_says<B: Backend>(b: &mut B) {
    for first_unit in 100..104 {
        for units in [1, 2, 3, 101] {
            let d = DropoutMask { first_unit, units, rate: 0.3, of_units: 2049, ..MASK };
            let want: Vec<f32> = (0..5 * units)
                .map(|i| if silent(&d, i / units, i % units) { 0.0 } else { 3.0 })
                .collect();
            assert_eq!(masked(b, &d, 5), want);
        }
    }
}

/// fc6's unit number 2³² belongs to step 8,192 at batch 128, its draw number 2³² to step 32,768:
/// counted in 32 bits, masks would repeat from there on.
pub(crate) fn silences_what_the_documented_function_says_beyond_32_bits<B: Backend>(b: &mut B) {
    let of_units = 4096;
    let (unit, draw) = ((1 << 32) / of_units as u64, (1 << 34) / of_units as u64);
    for (first_sample, seed) in [
        (unit - 2, 7),
        (draw - 2, 7),
        ((1 << 32) - 2, 7),
        ((1 << 40) + 5, 7),
        (1280, 7 << 32 | 9),
        (draw + 3, u64::MAX),
    ] {
        let d = DropoutMask { first_sample, seed, of_units, ..MASK };
        let want: Vec<f32> = (0..4 * d.units)
            .map(|i| if silent(&d, i / d.units, i % d.units) { 0.0 } else { 3.0 })
            .collect();
        assert_eq!(masked(b, &d, 4), want, "sample {first_sample}, seed {seed}");
    }
}

pub(crate) fn silences_as_often_as_asked<B: Backend>(b: &mut B) {
    for rate in [0.0, 0.25, 0.5, 1.0] {
        let d = DropoutMask { rate, units: 2048, first_unit: 0, ..MASK };
        let got = masked(b, &d, 64);
        let share = got.iter().filter(|y| **y == 0.0).count() as f64 / got.len() as f64;
        // Six standard deviations of 131,072 draws.
        assert!(
            (share - f64::from(rate)).abs()
                <= 0.0083 * f64::from((rate * (1.0 - rate)).sqrt() * 2.0)
        );
    }
}

pub(crate) fn does_not_depend_on_halves_or_micro_batches<B: Backend>(b: &mut B) {
    let whole = DropoutMask { units: 200, first_unit: 0, of_units: 200, ..MASK };
    let all = masked(b, &whole, 6);
    for (first_unit, units) in [(0, 99), (99, 101)] {
        let half = masked(b, &DropoutMask { first_unit, units, ..whole }, 6);
        for (all, half) in all.chunks(200).zip(half.chunks(units)) {
            assert_eq!(half, &all[first_unit..first_unit + units]);
        }
    }
    assert_same_in_micro_batches(b, 6, 200, |b, images, y| {
        b.run(Dropout { mask: &whole, images, y }).unwrap();
    });
}
